package outbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
	"github.com/usherhq/usher/services/mailer/mailtest"
	"github.com/usherhq/usher/services/mailer/outbox"
)

func filled(t testing.TB, keep, n int) (*outbox.Outbox, []mail.Mail) {
	t.Helper()
	r, err := mail.NewRenderer(mail.RendererOptions{From: "Usher <hello@usher.example>"})
	require.NoError(t, err)
	o := outbox.New(keep, func() time.Time { return time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC) })
	mails := make([]mail.Mail, n)
	for i := range mails {
		mails[i], err = r.Mail(mail.Context{Purpose: mail.PurposeInvitation, Organization: "<b>Acme</b>", Inviter: "Bob", Role: "member"}, mail.Recipient{
			Invitation: fmt.Sprint("inv_", i+1), Generation: 1, To: fmt.Sprintf("p%d@example.org", i+1), Name: "<i>Ann", Link: fmt.Sprint("http://127.0.0.1:8080/i/T", i+1),
		})
		require.NoError(t, err)
	}
	for i, r := range o.Send(t.Context(), mails) {
		require.NoError(t, r.Err)
		require.Equal(t, mails[i].MessageID, r.ID)
	}
	return o, mails
}

func ask(o *outbox.Outbox, target string, change func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, target, nil)
	req.RemoteAddr, req.Host = "127.0.0.1:5000", "localhost:8080"
	if change != nil {
		change(req)
	}
	rec := httptest.NewRecorder()
	o.Handler().ServeHTTP(rec, req)
	return rec
}

func TestTheOutboxListsMailsNewestFirst(t *testing.T) {
	o, _ := filled(t, 0, 3)
	for _, path := range []string{"/outbox", "/outbox/"} {
		body := ask(o, path, nil).Body.String()
		require.Less(t, strings.Index(body, "p3@example.org"), strings.Index(body, "p1@example.org"))
		require.Contains(t, body, `<a href="/outbox/3">`)
		require.Contains(t, body, "&lt;b&gt;Acme&lt;/b&gt;")
		require.NotContains(t, body, "<b>Acme")
	}
	body := ask(o, "/outbox?to=p2@example.org", nil).Body.String()
	require.Contains(t, body, "/outbox/2")
	require.NotContains(t, body, "/outbox/1")
	empty, _ := filled(t, 0, 0)
	require.Contains(t, ask(empty, "/outbox", nil).Body.String(), "No mails")
}

func TestTheOutboxShowsOneMailWithAllItsParts(t *testing.T) {
	o, mails := filled(t, 0, 2)
	body := ask(o, "/outbox/2", nil).Body.String()
	require.Contains(t, body, `<iframe src="/outbox/2/html"`)
	require.Contains(t, body, `<a href="http://127.0.0.1:8080/i/T2" target="_blank" rel="noopener noreferrer">`)
	require.Contains(t, body, "Auto-Submitted: auto-generated")
	require.Contains(t, body, "Hello &lt;i&gt;Ann,")
	frame := ask(o, "/outbox/2/html", nil)
	require.Equal(t, strings.ReplaceAll(mails[1].HTML(), "<a ", `<a target="_blank" rel="noopener noreferrer" `), frame.Body.String())
	for _, path := range []string{"/outbox/3", "/outbox/0", "/outbox/-1", "/outbox/x", "/outbox/3/html"} {
		require.Equal(t, http.StatusNotFound, ask(o, path, nil).Code, path)
	}
}

func TestMailsCannotRunAnythingOrReachTheOutbox(t *testing.T) {
	o, _ := filled(t, 0, 1)
	for _, path := range []string{"/outbox", "/outbox/1", "/outbox/1/html", "/outbox.json", "/outbox/1?format=json"} {
		h := ask(o, path, nil).Header()
		require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
		require.NotContains(t, h.Get("Content-Security-Policy"), "script-src", path)
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"), path)
		require.Equal(t, "no-store", h.Get("Cache-Control"), path)
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
	}
	policy := ask(o, "/outbox/1/html", nil).Header().Get("Content-Security-Policy")
	require.Contains(t, policy, "sandbox allow-popups")
	require.NotContains(t, policy, "allow-same-origin")
	require.NotContains(t, policy, "allow-scripts")
	require.Contains(t, ask(o, "/outbox/1", nil).Body.String(), `sandbox="allow-popups allow-popups-to-escape-sandbox"`)
}

func TestTheOutboxIsJSONForScripts(t *testing.T) {
	o, mails := filled(t, 0, 3)
	for _, path := range []string{"/outbox.json", "/outbox?format=json", "/outbox.json?to=p3@example.org", "/outbox.json?limit=1"} {
		var list struct {
			Items []struct {
				Number                        int
				To, From, Subject, Text, HTML string
				Headers                       []struct{ Name, Value string }
			}
			Total int
		}
		rec := ask(o, path, nil)
		require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
		require.Equal(t, 3, list.Total)
		require.Equal(t, mails[2].Text(), list.Items[0].Text, path)
		require.Equal(t, mails[2].HTML(), list.Items[0].HTML, path)
		require.Equal(t, "Message-Id", list.Items[0].Headers[0].Name)
		require.Len(t, list.Items, map[bool]int{true: 1, false: 3}[strings.Contains(path, "to=") || strings.Contains(path, "limit")])
	}
	require.Contains(t, ask(o, "/outbox/1?format=json", nil).Body.String(), `"number":1`)
	empty, _ := filled(t, 0, 0)
	require.JSONEq(t, `{"items":[],"total":0}`, ask(empty, "/outbox.json", nil).Body.String())
}

func TestTheOutboxAnswersThisMachineAlone(t *testing.T) {
	o, _ := filled(t, 0, 1)
	for name, change := range map[string]func(*http.Request){
		"another machine": func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1234" },
		"another name":    func(r *http.Request) { r.Host = "rebound.example:8080" },
	} {
		rec := ask(o, "/outbox", change)
		require.Equal(t, http.StatusForbidden, rec.Code, name)
		require.NotContains(t, rec.Body.String(), "p1@", name)
	}
	for _, host := range []string{"localhost", "127.0.0.1:8080", "[::1]:8080"} {
		require.Equal(t, http.StatusOK, ask(o, "/outbox", func(r *http.Request) { r.Host, r.RemoteAddr = host, "[::1]:99" }).Code, host)
	}
}

func TestTheOutboxKeepsOnlyTheNewestAndCountsAll(t *testing.T) {
	o, mails := filled(t, 5, 12)
	kept, total := o.Mails("", 100)
	require.Len(t, kept, 5)
	require.Equal(t, 12, total)
	require.Equal(t, 12, kept[0].Number)
	require.Equal(t, 8, kept[4].Number)
	_, ok := o.Mail(7)
	require.False(t, ok)
	_, found, err := o.Find(t.Context(), mails[11], time.Time{})
	require.NoError(t, err)
	require.True(t, found)
	_, found, err = o.Find(t.Context(), mails[0], time.Time{})
	require.NoError(t, err)
	require.False(t, found)
}

func TestTheOutboxIsReadOnly(t *testing.T) {
	o, _ := filled(t, 0, 1)
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
		require.Equal(t, http.StatusMethodNotAllowed, ask(o, "/outbox", func(r *http.Request) { r.Method = method }).Code)
	}
}

func TestTheOutboxIsAProvider(t *testing.T) {
	mailtest.Run(t, func(*testing.T) mailtest.Provider { return outbox.New(0, nil) })
}
