package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/events"
)

// One sending domain is often shared: reports about mails of others come here too, and Mailgun repeats for hours what is not
// answered with 200. A name that is none must not be taken for a wildcard either.
func TestAReportAboutAMailThatIsNotOursIsTakenAndChangesNothing(t *testing.T) {
	t.Parallel()
	g := newTarget(t)
	for _, about := range []string{`{}`, `{"invitation":""}`, `{"invitation":"*"}`, `{"invitation":">"}`, `{"invitation":"a b"}`, `{"invitation":"` + events.NewInvitationID() + `"}`, `{"notice":"*"}`} {
		before, err := g.Ledger.State(t.Context(), events.StreamInvitations)
		require.NoError(t, err)
		body := signedHook(`{"id":"1","event":"complained","timestamp":1795442399.1,"recipient":"a@example.org","user-variables":` + about + `}`)
		answer := httptest.NewRecorder()
		g.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/webhooks/mailgun", strings.NewReader(body)))
		require.Equal(t, http.StatusOK, answer.Code, "%s: %s", about, answer.Body)
		after, err := g.Ledger.State(t.Context(), events.StreamInvitations)
		require.NoError(t, err)
		require.Equal(t, before, after, about)
	}
}
