//go:build failpoints

package failpoint

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/clock"
)

// served is the control of this very process; what a test armed is disarmed after it.
func served(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(control())
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		for _, s := range spots {
			s.disarm()
		}
		clock.SetAhead(0)
	})
	return server.URL
}

func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(said)
}

func TestTheListHasEveryPointInOrder(t *testing.T) {
	url := served(t)
	Here(StartLedger)
	code, body := ask(t, http.MethodGet, url+"/failpoints", "")
	require.Equal(t, http.StatusOK, code)
	var list struct{ Points []shown }
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	require.Len(t, list.Points, len(Points))
	for i, p := range Points {
		require.Equal(t, p.Name, list.Points[i].Name)
		require.Equal(t, p.Steps, list.Points[i].Step)
		require.Equal(t, p.Name == StartLedger, list.Points[i].Passed > 0)
		require.Empty(t, list.Points[i].Armed)
	}
}

func TestOnlyTheNthPassActsAndOnlyOnce(t *testing.T) {
	url := served(t)
	code, body := ask(t, http.MethodPut, url+"/failpoints/mailer.claimed", `{"action":"panic","after":3}`)
	require.Equal(t, http.StatusOK, code, body)
	require.Contains(t, body, `"armed":"panic@3"`)
	Here(MailerClaimed)
	_, body = ask(t, http.MethodGet, url+"/failpoints", "")
	require.Contains(t, body, `"armed":"panic@2"`)
	Here(MailerClaimed)
	require.PanicsWithValue(t, "failpoint mailer.claimed", func() { Here(MailerClaimed) })
	Here(MailerClaimed)
}

func TestAPausedGoroutineWaitsUntilItIsReleased(t *testing.T) {
	url := served(t)
	code, _ := ask(t, http.MethodGet, url+"/reached/api.admitted?timeout=20ms", "")
	require.Equal(t, http.StatusRequestTimeout, code)
	code, body := ask(t, http.MethodPut, url+"/failpoints/api.admitted", `{"action":"pause"}`)
	require.Equal(t, http.StatusOK, code, body)
	gone := make(chan struct{})
	go func() { Here(APIAdmitted); close(gone) }()
	code, body = ask(t, http.MethodGet, url+"/reached/api.admitted?timeout=10s", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, `"waiting":1`)
	Here(APIAdmitted) // others go by
	select {
	case <-gone:
		require.Fail(t, "nobody released it")
	default:
	}
	code, _ = ask(t, http.MethodGet, url+"/reached/api.admitted", "")
	require.Equal(t, http.StatusOK, code, "it waits now, without any timeout")
	code, _ = ask(t, http.MethodDelete, url+"/failpoints/api.admitted", "")
	require.Equal(t, http.StatusOK, code)
	<-gone
	code, _ = ask(t, http.MethodGet, url+"/reached/api.admitted", "")
	require.Equal(t, http.StatusRequestTimeout, code)
}

func TestADisarmedPointLetsAllPass(t *testing.T) {
	url := served(t)
	code, _ := ask(t, http.MethodPut, url+"/failpoints/api.admitted", `{"action":"panic"}`)
	require.Equal(t, http.StatusOK, code)
	code, _ = ask(t, http.MethodDelete, url+"/failpoints/api.admitted", "")
	require.Equal(t, http.StatusOK, code)
	Here(APIAdmitted)
}

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	url := served(t)
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{http.MethodPut, "/failpoints/no.such", `{"action":"kill"}`, http.StatusNotFound},
		{http.MethodDelete, "/failpoints/no.such", "", http.StatusNotFound},
		{http.MethodGet, "/reached/no.such", "", http.StatusNotFound},
		{http.MethodPut, "/failpoints/api.admitted", `{"action":"explode"}`, http.StatusBadRequest},
		{http.MethodPut, "/failpoints/api.admitted", `{"action":"pause","after":0}`, http.StatusBadRequest},
		{http.MethodPut, "/failpoints/api.admitted", `{"action":"pause","after":-1}`, http.StatusBadRequest},
		{http.MethodPut, "/failpoints/api.admitted", ``, http.StatusBadRequest},
		{http.MethodGet, "/reached/api.admitted?timeout=soon", "", http.StatusBadRequest},
		{http.MethodPut, "/clock", `{"ahead":"tomorrow"}`, http.StatusBadRequest},
		{http.MethodPut, "/clock", `{}`, http.StatusBadRequest},
	} {
		code, body := ask(t, c.method, url+c.path, c.body)
		require.Equal(t, c.code, code, "%s %s %s: %s", c.method, c.path, c.body, body)
	}
	Here(APIAdmitted) // nothing was armed
}

func TestTheClockGoesAheadAndBehind(t *testing.T) {
	url := served(t)
	for _, ahead := range []time.Duration{5 * time.Minute, -90 * time.Second, 0} {
		code, body := ask(t, http.MethodPut, url+"/clock", `{"ahead":"`+ahead.String()+`"}`)
		require.Equal(t, http.StatusOK, code, body)
		require.InDelta(t, time.Now().Add(ahead).Unix(), clock.System().Unix(), 2)
		_, body = ask(t, http.MethodGet, url+"/clock", "")
		require.Contains(t, body, `"ahead":"`+ahead.String()+`"`)
	}
}

func TestTheEnvironmentArmsFromTheStart(t *testing.T) {
	served(t)
	require.NoError(t, begin("mailer.claimed=panic@2, start.ledger=panic", ""))
	Here(MailerClaimed)
	require.Panics(t, func() { Here(MailerClaimed) })
	require.Panics(t, func() { Here(StartLedger) })
}

func TestAnEnvironmentThatCannotBeReadStartsNothing(t *testing.T) {
	served(t)
	for _, armed := range []string{"no.such=kill", "start.ledger", "start.ledger=explode", "start.ledger=kill@0", "start.ledger=kill@often"} {
		require.ErrorContains(t, begin(armed, ""), EnvArm, armed)
	}
	for _, addr := range []string{":7070", "0.0.0.0:7070", "192.0.2.1:7070", "localhost:7070", "127.0.0.1", "[::]:0"} {
		require.ErrorContains(t, begin("", addr), EnvAddr, addr)
	}
}
