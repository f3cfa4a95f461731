package redisdb_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

// each runs a benchmark against both servers and adds the processor time of this process to its figures.
func each(b *testing.B, bench func(*testing.B, *redisdb.DB)) {
	run := func(name string, db *redisdb.DB) {
		b.Run(name, func(b *testing.B) {
			before := processorTime(b)
			bench(b, db)
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
	run("in-process", redistest.Embedded(b))
	run("redis-server", redistest.Open(b, redistest.Run(b).URL()))
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkClaim is what one mail costs: a claim with its token, and its release, of many workers at once.
func BenchmarkClaim(b *testing.B) {
	each(b, func(b *testing.B, db *redisdb.DB) {
		var n atomic.Int64
		expires := time.Now().Add(time.Hour)
		b.SetParallelism(64)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := redisdb.Intent{Organization: "acme", Invitation: events.NewInvitationID(), Sequence: uint64(n.Add(1))}
				c, err := db.Claim(b.Context(), i, "worker-0123456789", token(i.Invitation, expires))
				if err != nil || !c.Won {
					b.Error(err)
				}
				if err := db.Release(b.Context(), i, "worker-0123456789"); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkToken is what one look at a link costs, of many visitors at once.
func BenchmarkToken(b *testing.B) {
	each(b, func(b *testing.B, db *redisdb.DB) {
		known := token("secret", time.Now().Add(time.Hour))
		require.NoError(b, db.PutToken(b.Context(), known))
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, found, err := db.Token(b.Context(), known.Hash); !found {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkTokenAlone is the same with nobody to share a round trip with.
func BenchmarkTokenAlone(b *testing.B) {
	each(b, func(b *testing.B, db *redisdb.DB) {
		known := token("secret", time.Now().Add(time.Hour))
		require.NoError(b, db.PutToken(b.Context(), known))
		b.ReportAllocs()
		for b.Loop() {
			if _, found, err := db.Token(b.Context(), known.Hash); !found {
				b.Error(err)
			}
		}
	})
}

// record is about as long as a real one.
var record = `{"id":"inv_01h455vb4pex5vsknk084sn02q","org":"acme","req":{` + strings.Repeat(`"name":"value",`, 30) + `},"seq":12345}`

var runs atomic.Int64

// BenchmarkApply is what one changed record costs: half are new ones, half move from one index to another.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 64, 500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			each(b, func(b *testing.B, db *redisdb.DB) {
				var score uint64
				org := fmt.Sprintf("org%d", runs.Add(1)) // the framework runs a benchmark several times
				b.ReportAllocs()
				for done := 0; done < b.N; done += size {
					changes := fresh(size, &score)
					if done/size%2 == 1 {
						changes = moved(changes)
					} else {
						score -= uint64(size)
					}
					conflicts, err := db.Apply(context.Background(), org, changes)
					require.NoError(b, err)
					require.Empty(b, conflicts)
				}
			})
		})
	}
}

// fresh makes new records at the next scores.
func fresh(n int, score *uint64) []redisdb.Change {
	changes := make([]redisdb.Change, n)
	for i := range changes {
		*score++
		id := fmt.Sprintf("inv_%026d", *score)
		changes[i] = redisdb.Change{ID: id, New: []byte(record + id), NewCombo: "pending:queued:member", Score: *score, Person: fmt.Sprintf("%026d", *score)}
	}
	return changes
}

// moved makes the changes that follow on fresh ones.
func moved(fresh []redisdb.Change) []redisdb.Change {
	for i := range fresh {
		c := &fresh[i]
		c.Old, c.New, c.OldCombo, c.NewCombo = c.New, append(c.New[:len(c.New):len(c.New)], '.'), c.NewCombo, "pending:sent:member"
	}
	return fresh
}

// BenchmarkPage is a list page of 50 with its records, with few and with many invitations behind it.
func BenchmarkPage(b *testing.B) {
	for _, total := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(total), func(b *testing.B) {
			each(b, func(b *testing.B, db *redisdb.DB) {
				if counts, _ := db.Counts(b.Context(), "acme"); len(counts) == 0 {
					fill(b, db, total)
				}
				all := func(string) bool { return true }
				b.ResetTimer()
				for b.Loop() {
					entries, err := db.Page(b.Context(), "acme", all, 0, 50)
					require.NoError(b, err)
					ids := make([]string, len(entries))
					for i, e := range entries {
						ids[i] = e.ID
					}
					require.Len(b, ids, 50)
					_, err = db.Records(b.Context(), "acme", ids)
					require.NoError(b, err)
				}
			})
		})
	}
}

func fill(b *testing.B, db *redisdb.DB, total int) {
	var score uint64
	for range total / 500 {
		changes := fresh(500, &score)
		for i := range changes {
			changes[i].Score *= 4 // as many events as an invitation has
			changes[i].NewCombo = []string{"pending:sent:member", "pending:delivered:member", "accepted:delivered:member", "pending:bounced:viewer"}[i%4]
		}
		_, err := db.Apply(b.Context(), "acme", changes)
		require.NoError(b, err)
	}
}
