package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long anything may take that happens in another process. Long, because many tests share few cores;
// nothing waits that long where all is well.
const Patience = 45 * time.Second

// How often to look: often at first, and less so the longer it takes, so that looking does not slow down what is waited for.
const (
	firstLook  = 4 * time.Millisecond
	rarestLook = 250 * time.Millisecond
)

// Until looks until something is there, and gives it. It runs in the test's own goroutine, so looking may use the test.
func Until[T any](t testing.TB, what string, find func() (T, bool)) T {
	t.Helper()
	found, err := until(what, find)
	require.NoError(t, err)
	return found
}

func until[T any](what string, find func() (T, bool)) (T, error) {
	end := time.Now().Add(Patience)
	for wait := firstLook; ; wait = min(wait*5/4, rarestLook) {
		if found, ok := find(); ok {
			return found, nil
		}
		if time.Now().After(end) {
			var none T
			return none, fmt.Errorf("waited %s in vain for: %s", Patience, what)
		}
		<-time.After(wait)
	}
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	Until(t, what, func() (struct{}, bool) { return struct{}{}, holds() })
}

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freeAddr is an address on this machine that nobody listens on, and that was given to nobody before. It is below the
// ports that the system hands out by itself, so that nothing takes it by chance meanwhile.
func freeAddr() (string, error) {
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := 15000 + rand.IntN(15000)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		given.ports[port] = true
		return addr, nil
	}
	return "", fmt.Errorf("there is no free port")
}

var (
	counter atomic.Uint64
	run     = strconv.FormatUint(rand.Uint64N(36*36*36*36), 36)
)

// Unique makes a name that nothing else in this run has.
func Unique(prefix string) string {
	return prefix + run + strconv.FormatUint(counter.Add(1), 36)
}

// Address makes an e-mail address that nothing else in this run has.
func Address(name string) string { return Unique(name+".") + "@example.org" }
