package redisdb

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Server is where Redis is and how it is reached.
type Server struct {
	// Addrs are host:port, or the path of a Unix socket; of a cluster or of sentinels, those to begin with.
	Addrs []string
	// Cluster is true for Redis Cluster; Sentinel is the master's name where sentinels know its place.
	Cluster  bool
	Sentinel string
	// Database is the number of the database; always 0 in a cluster.
	Database int
	// TLS is true for the rediss forms. Certificates are always checked.
	TLS bool

	username, password                 string
	sentinelUsername, sentinelPassword string
}

// ParseURL reads the forms
//
//	redis://[user:password@]host[:port][/database]
//	redis+cluster://[user:password@]host[:port][,host[:port]…]
//	redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database]
//	unix://[user:password@]/path[?db=database]
//
// each of the first three also with rediss, for TLS. A cluster may also be given as redis://host?addr=host:port&addr=…,
// and sentinels as redis://host?master_name=…. The user is the servers'; sentinels that ask for one
// find it in the options sentinel_username and sentinel_password. It returns an error that does not repeat the URL, which may hold a password.
func ParseURL(s string) (Server, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Server{}, errors.New("redisdb: the URL must begin with redis://, rediss://, redis+cluster://, redis+sentinel:// or unix://")
	}
	hosts, rest := splitHosts(rest)
	u, err := url.Parse("redis://" + rest)
	if err != nil {
		return Server{}, errors.New("redisdb: the URL cannot be read")
	}
	server := Server{username: u.User.Username()}
	server.password, _ = u.User.Password()
	if scheme == "unix" {
		return unixServer(server, u)
	}
	base, kind, _ := strings.Cut(scheme, "+")
	if base != "redis" && base != "rediss" || !slices.Contains([]string{"", "cluster", "sentinel"}, kind) {
		return Server{}, errors.New("redisdb: the URL must begin with redis://, rediss://, redis+cluster://, redis+sentinel:// or unix://")
	}
	server.TLS = base == "rediss"
	return networkServer(server, kind, hosts, u)
}

// splitHosts takes the list of hosts out of "user:password@host,host/path?query": net/url reads no lists.
func splitHosts(rest string) (hosts []string, without string) {
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	start := strings.LastIndex(rest[:end], "@") + 1
	return strings.Split(rest[start:end], ","), rest[:start] + "host" + rest[end:]
}

func unixServer(server Server, u *url.URL) (Server, error) {
	var err error
	server.Addrs = []string{u.Path}
	server.Database, err = database(u.Query().Get("db"))
	if err == nil && (u.Path == "" || u.Path == "/") {
		err = errors.New("redisdb: the URL names no socket")
	}
	return server, err
}

var urlOptions = []string{"addr", "db", "master_name", "sentinel_username", "sentinel_password"}

func networkServer(server Server, kind string, hosts []string, u *url.URL) (Server, error) {
	query := u.Query()
	for name := range query {
		if !slices.Contains(urlOptions, name) {
			return Server{}, errors.New("redisdb: the URL has an option other than " + strings.Join(urlOptions, ", "))
		}
	}
	path := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })
	server.Sentinel = query.Get("master_name")
	server.sentinelUsername, server.sentinelPassword = query.Get("sentinel_username"), query.Get("sentinel_password")
	if kind == "sentinel" && server.Sentinel == "" && len(path) > 0 {
		server.Sentinel, path = path[0], path[1:]
	}
	if kind == "sentinel" && server.Sentinel == "" {
		return Server{}, errors.New("redisdb: the URL does not name the sentinels' master")
	}
	hosts = append(hosts, query["addr"]...)
	server.Cluster = kind == "cluster" || server.Sentinel == "" && len(hosts) > 1
	port := "6379"
	if server.Sentinel != "" {
		port = "26379"
	}
	for _, host := range hosts {
		addr, err := address(host, port)
		if err != nil {
			return Server{}, err
		}
		server.Addrs = append(server.Addrs, addr)
	}
	if len(path) > 1 {
		return Server{}, errors.New("redisdb: the URL's path is longer than a database number")
	}
	var err error
	server.Database, err = database(query.Get("db") + strings.Join(path, ""))
	if err == nil && server.Cluster && server.Database != 0 {
		err = errors.New("redisdb: a cluster has no numbered databases")
	}
	return server, err
}

func address(host, port string) (string, error) {
	name, given, err := net.SplitHostPort(host)
	if err != nil { // no port
		name, given = strings.Trim(host, "[]"), port
	}
	if n, err := strconv.ParseUint(given, 10, 16); name == "" || err != nil || n == 0 {
		return "", errors.New("redisdb: the URL has a host without a name, or a port that is none")
	}
	return net.JoinHostPort(name, given), nil
}

func database(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("redisdb: the URL's database is not a number")
	}
	return int(n), nil
}
