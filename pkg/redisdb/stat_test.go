package redisdb_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/redistest"
)

func BenchmarkStat(b *testing.B) {
	m := func(db *redisdb.DB) string {
		m, _ := db.Client().Info(b.Context(), "memory").Result()
		return (strings.Split(m, "\r\n\r\n")[0]+strings.Repeat(" ", 60))[:50]
	}
	load := func(db *redisdb.DB) {
		fmt.Println("empty", m(db))
		fill(b, db, 100000)
		fmt.Println("views", m(db), len(record)+30)
		var toks []redisdb.Token
		for i := range 100000 {
			toks = append(toks, token(fmt.Sprint(i), time.Now().Add(time.Hour)))
			if len(toks) == 500 {
				if err := db.PutTokens(b.Context(), toks); err != nil {
					b.Fatal(err)
				}
				toks = toks[:0]
			}
		}
		fmt.Println("tokens", m(db))
	}
	load(redistest.Open(b, redistest.Run(b).URL()))
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	h := ms.HeapAlloc
	db := redistest.Embedded(b)
	load(db)
	runtime.GC()
	runtime.ReadMemStats(&ms)
	fmt.Println("in-process heap MB", (ms.HeapAlloc-h)>>20)
	runtime.KeepAlive(db)
}
