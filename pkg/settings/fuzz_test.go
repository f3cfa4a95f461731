package settings_test

import (
	"strings"
	"testing"

	"github.com/usherhq/usher/pkg/settings"
)

// Whatever stands in the environment, it is read or refused, and no refusal shows a secret.
func FuzzLoad(f *testing.F) {
	var complete []string
	for name, value := range production() {
		complete = append(complete, name+"="+value)
	}
	f.Add(uint8(0), strings.Join(complete, "\n"))
	for i, line := range []string{
		"USHER_PUBLIC_URL=http://[::1%25eth0]:x/", "USHER_LINK_KEYS=1:AAAA,1:,:,256:=", "USHER_ROLES=,,owner,", "USHER_INVITATION_TTL=1h1h-1ns",
		"USHER_NATS_LISTEN=[::1]", "USHER_REPLICAS=0x3", "USHER_MAIL_FROM=\"<>\"@", "USHER_LOG_LEVEL=DEBUG+7", "USHER_LINK_KEYS_FILE=/",
		"MAILGUN_API_BASE=//a b", "USHER_BOOTSTRAP_API_KEY=usher_", "USHER_OIDC_ISSUER=https://a?#", "MAILGUN_ALLOW_HTTP=T",
	} {
		f.Add(uint8(i), line)
	}
	services := []settings.Service{settings.API, settings.Mailer, settings.Acceptance, settings.All, settings.Operator}
	const secret = "hunter2-"
	f.Fuzz(func(t *testing.T, service uint8, text string) {
		var environ []string
		for line := range strings.SplitSeq(text, "\n") {
			for _, field := range settings.Fields() {
				if value, ok := strings.CutPrefix(line, field.Env+"="); ok && field.Secret {
					line = field.Env + "=" + secret + value
				}
			}
			environ = append(environ, line)
		}
		s, err := settings.Load(services[int(service)%len(services)], environ)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("a refusal shows a secret: %v", err)
			}
			return
		}
		for _, v := range s.Values() {
			if strings.Contains(v.Value, secret) {
				t.Fatalf("%s is shown", v.Name)
			}
		}
	})
}
