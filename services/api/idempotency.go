package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/failpoint"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/redisdb"
)

// Bounds of request bodies, in bytes.
const (
	maxBody     = 64 << 10
	maxBulkBody = 4 << 20
)

type idempotencyKey struct{}

// idempotencyKeyOf is the Idempotency-Key of the running request, empty without one.
func idempotencyKeyOf(ctx context.Context) string {
	key, _ := ctx.Value(idempotencyKey{}).(string)
	return key
}

// idempotent answers a repeated POST with the first answer. The record in Redis is the answer's memory alone: that the
// work is done once follows from invitation ids being derived from the key.
func (s *Service) idempotent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if r.Method != http.MethodPost || key == "" {
			next.ServeHTTP(w, r)
			return
		}
		if len(key) > 200 {
			s.refuse(w, problem.Fields(events.FieldError{Location: "header.Idempotency-Key", Message: "must have at most 200 characters"}))
			return
		}
		body, err := readBody(w, r)
		if err != nil {
			s.refuse(w, err)
			return
		}
		sum := fingerprint(r, body)
		// Two members acting through one key are two callers.
		scope := callerOf(r.Context()).key.ID + "/" + callerOf(r.Context()).person
		before, err := s.Redis.Begin(r.Context(), scope, key, sum)
		if err == nil && before.State != redisdb.IdempotencyNew {
			s.repeat(w, before)
			return
		}
		if err != nil {
			s.refuse(w, err)
			return
		}
		answer := &recorder{header: http.Header{}, status: http.StatusOK}
		ctx := context.WithValue(r.Context(), idempotencyKey{}, scope+"/"+key)
		end := s.Redis.Hold(context.WithoutCancel(ctx), scope, key)
		next.ServeHTTP(answer, r.WithContext(ctx))
		end()
		s.remember(context.WithoutCancel(r.Context()), scope, key, sum, answer)
		answer.copyTo(w)
	})
}

// remember keeps the answer for repeats. "Not now" and "try again" are no answers, of a whole request or of rows in it: the
// next try does the work.
func (s *Service) remember(ctx context.Context, scope, key, sum string, answer *recorder) {
	failpoint.Here(failpoint.APIAnswered)
	var err error
	if answer.status >= 500 || answer.status == http.StatusTooManyRequests || answer.header.Get("Retry-After") != "" {
		err = s.Redis.Abandon(ctx, scope, key)
	} else {
		err = s.Redis.Finish(ctx, scope, key, sum, redisdb.Answer{Status: answer.status, Header: answer.header, Body: answer.body.Bytes()})
	}
	if err != nil {
		s.Logger.Warn("an idempotent answer was not kept; its lease runs out", "error", err)
	}
	failpoint.Here(failpoint.APIKept)
}

func (s *Service) repeat(w http.ResponseWriter, before redisdb.Idempotency) {
	switch before.State {
	case redisdb.IdempotencyRunning:
		p := problem.New(problem.KeyInUse, "The first request with this Idempotency-Key is still running; try again shortly.")
		p.RetryAfter = 1e9
		s.refuse(w, p)
	case redisdb.IdempotencyMismatch:
		s.refuse(w, problem.New(problem.KeyReused, "This Idempotency-Key was used for another request."))
	default:
		answer := &recorder{header: before.Answer.Header, status: before.Answer.Status}
		answer.body.Write(before.Answer.Body)
		w.Header().Set("Idempotent-Replayed", "true")
		answer.copyTo(w)
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBulkBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, problem.New(problem.TooLarge, "The body is larger than %d bytes.", tooLarge.Limit)
		}
		return nil, problem.New(problem.Malformed, "The body did not arrive whole.")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	failpoint.Here(failpoint.APIAuthenticated)
	return body, nil
}

func fingerprint(r *http.Request, body []byte) string {
	h := sha256.New()
	h.Write([]byte(r.Method + " " + r.URL.Path + "\n"))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// recorder keeps an answer until it is remembered.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *recorder) copyTo(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes()) // the client has gone; the answer is kept for its next try
}

func uitoa(n uint64) string { return strconv.FormatUint(n, 10) }
