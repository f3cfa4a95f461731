package redisdb

import "github.com/redis/go-redis/v9"

// Client lets tests look at and break what is stored.
func (db *DB) Client() redis.UniversalClient { return db.client }

// Pipe is a connection within the process.
var Pipe = pipe

// BucketSize is how many sequences share an index.
const BucketSize = bucketSize

// Credentials are the parts of a URL that Server keeps to itself.
func Credentials(s Server) (username, password string) { return s.username, s.password }
