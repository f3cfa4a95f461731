package mailgunhook_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/mailgunhook"
)

const key = "signing-key"

var now = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

// hook is a webhook body signed with key at the given instant.
func hook(at time.Time, eventData string) string {
	return signed(at, "token-1", mailgunhook.Sign(key, fmt.Sprint(at.Unix()), "token-1"), eventData)
}

func signed(at time.Time, token, signature, eventData string) string {
	return fmt.Sprintf(`{"signature":{"timestamp":"%d","token":%q,"signature":%q},"event-data":%s}`, at.Unix(), token, signature, eventData)
}

func report(event, more string) string {
	return `{"id":"evt-1","event":"` + event + `","timestamp":1795442399.123456,"recipient":"ann@example.org",` +
		`"message":{"headers":{"message-id":"inv_1.1.invitation.9@mg.example.org"}},` + more +
		`"user-variables":{"invitation":"inv_1","generation":"2","purpose":"resend","intent":"9"}}`
}

func TestParseReadsWhatTheReportSays(t *testing.T) {
	e, err := mailgunhook.Parse([]byte(hook(now, report("failed", `"severity":"permanent","reason":"bounce","delivery-status":{"code":550},`))), key, now)
	require.NoError(t, err)
	require.Equal(t, mailgunhook.Event{
		Token: "token-1", ID: "evt-1", Kind: mailgunhook.Bounced, OccurredAt: time.UnixMicro(1795442399123456).UTC(),
		Invitation: "inv_1", Generation: 2, Purpose: "resend", Intent: 9,
		Recipient: "ann@example.org", MessageID: "<inv_1.1.invitation.9@mg.example.org>", Code: 550, Reason: "bounce",
	}, e)
}

func TestParseTellsTheKindsApart(t *testing.T) {
	for data, want := range map[string]mailgunhook.Kind{
		report("delivered", ""):                          mailgunhook.Delivered,
		report("failed", `"severity":"temporary",`):      mailgunhook.Deferred,
		report("failed", `"severity":"permanent",`):      mailgunhook.Bounced,
		report("failed", ""):                             mailgunhook.Deferred,
		report("complained", ""):                         mailgunhook.Complained,
		report("unsubscribed", ""):                       mailgunhook.Unsubscribed,
		report("opened", ""):                             "opened",
		`{"event":"delivered","user-variables":[]}`:      mailgunhook.Delivered,
		`{"event":"delivered","user-variables":{"a":1}}`: mailgunhook.Delivered,
	} {
		e, err := mailgunhook.Parse([]byte(hook(now, data)), key, now)
		require.NoError(t, err, data)
		require.Equal(t, want, e.Kind, data)
	}
}

func TestParseTakesNumbersForTexts(t *testing.T) {
	e, err := mailgunhook.Parse([]byte(hook(now, `{"event":"failed","delivery-status":{"code":"421"},"user-variables":{"invitation":"inv_1","generation":3}}`)), key, now)
	require.NoError(t, err)
	require.Equal(t, 3, e.Generation)
	require.Equal(t, 421, e.Code)
}

func TestT098ParseRefusesEverySignatureButTheRightOne(t *testing.T) {
	good := mailgunhook.Sign(key, fmt.Sprint(now.Unix()), "token-1")
	data := report("delivered", "")
	for name, body := range map[string]string{
		"another key":           signed(now, "token-1", mailgunhook.Sign("other", fmt.Sprint(now.Unix()), "token-1"), data),
		"another token":         signed(now, "token-2", good, data),
		"another time":          signed(now.Add(time.Second), "token-1", good, data),
		"upper-case hex":        signed(now, "token-1", strings.ToUpper(good), data),
		"one digit off":         signed(now, "token-1", good[:63]+"g", data),
		"cut short":             signed(now, "token-1", good[:62], data),
		"empty":                 signed(now, "token-1", "", data),
		"empty token":           signed(now, "", mailgunhook.Sign(key, fmt.Sprint(now.Unix()), ""), data),
		"endless token":         signed(now, strings.Repeat("a", 101), mailgunhook.Sign(key, fmt.Sprint(now.Unix()), strings.Repeat("a", 101)), data),
		"none":                  `{"event-data":` + data + `}`,
		"parent-signature only": strings.Replace(hook(now, data), `"signature":{`, `"parent-signature":{`, 1),
	} {
		_, err := mailgunhook.Parse([]byte(body), key, now)
		require.ErrorIs(t, err, mailgunhook.ErrSignature, name)
	}
}

func TestParseNeverWorksWithoutASigningKey(t *testing.T) {
	at := fmt.Sprint(now.Unix())
	_, err := mailgunhook.Parse([]byte(signed(now, "t", mailgunhook.Sign("", at, "t"), report("delivered", ""))), "", now)
	require.ErrorIs(t, err, mailgunhook.ErrNoKey)
}

func TestT127ParseAllowsFourteenMinutesOfSkewAndNotSixteen(t *testing.T) {
	for skew, want := range map[time.Duration]error{
		14 * time.Minute: nil, -14 * time.Minute: nil,
		16 * time.Minute: mailgunhook.ErrStale, -16 * time.Minute: mailgunhook.ErrStale,
		24 * time.Hour: mailgunhook.ErrStale,
	} {
		_, err := mailgunhook.Parse([]byte(hook(now.Add(skew), report("delivered", ""))), key, now)
		require.ErrorIs(t, err, want, skew)
	}
}

func TestParseKeepsTheBorderBetweenTimestampAndToken(t *testing.T) {
	at := fmt.Sprint(now.Unix())
	good := mailgunhook.Sign(key, at, "1token")
	body := fmt.Sprintf(`{"signature":{"timestamp":%q,"token":"token","signature":%q},"event-data":{}}`, at+"1", good)
	_, err := mailgunhook.Parse([]byte(body), key, now)
	require.ErrorIs(t, err, mailgunhook.ErrStale)
	body = fmt.Sprintf(`{"signature":{"timestamp":%q,"token":%q,"signature":%q},"event-data":{}}`, at[:9], at[9:]+"1token", good)
	_, err = mailgunhook.Parse([]byte(body), key, now)
	require.ErrorIs(t, err, mailgunhook.ErrStale)
}

func TestParseCallsWhatIsNoWebhookMalformed(t *testing.T) {
	for _, body := range []string{"", "null and void", "[]", `"x"`, `{"signature":"x"}`, `{"signature":{"timestamp":1}}`, strings.Repeat("[", 1<<16), "timestamp=1&token=2"} {
		_, err := mailgunhook.Parse([]byte(body), key, now)
		require.ErrorIs(t, err, mailgunhook.ErrMalformed, body[:min(len(body), 40)])
	}
	for _, data := range []string{`[]`, `"x"`, `{"timestamp":"soon"}`} {
		_, err := mailgunhook.Parse([]byte(hook(now, data)), key, now)
		require.ErrorIs(t, err, mailgunhook.ErrMalformed, data)
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add(report("delivered", ""))
	f.Add(`{"user-variables":{"generation":{"a":[]}},"timestamp":1e300}`)
	f.Fuzz(func(t *testing.T, data string) {
		if !json.Valid([]byte(data)) {
			t.Skip()
		}
		e, err := mailgunhook.Parse([]byte(hook(now, data)), key, now)
		if err == nil {
			require.Equal(t, "token-1", e.Token)
		}
	})
}

// Whatever is posted: without the right signature it is nobody's report.
func FuzzParseTakesNothingUnsigned(f *testing.F) {
	f.Add(hook(now, report("delivered", "")))
	f.Add(signed(now, "", "", `{}`))
	f.Add(`{"signature":{"timestamp":1e9,"token":null},"event-data":[]}`)
	f.Add(`{"Signature":{},"signature":{},"event-data":{},"event-data":{}}`)
	f.Fuzz(func(t *testing.T, body string) {
		_, err := mailgunhook.Parse([]byte(body), "another-key", now)
		require.Error(t, err)
	})
}
