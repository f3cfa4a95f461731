// Package refusaltest walks a table of rules and has every one of them broken.
package refusaltest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/refusal"
)

// Case breaks a promise.
type Case struct {
	// Says is the whole sentence that must refuse it.
	Says string
	// Start starts, or tries to.
	Start func(t *testing.T) error
	// Secrets are what no refusal may show.
	Secrets []string
}

// Walk starts every case and requires its sentence; then it requires that no rule was left out.
func Walk(t *testing.T, rules []refusal.Line, cases map[string]Case) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.Start(t)
			require.ErrorContains(t, err, c.Says)
			for _, secret := range c.Secrets {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
	for _, r := range rules {
		require.True(t, broken(r, cases), "nothing here breaks %s (%s), which should say: %s", r.Setting, r.When, r.Says)
	}
}

func broken(r refusal.Line, cases map[string]Case) bool {
	sentence := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(r.Says), "…", ".+") + "$")
	for _, c := range cases {
		if sentence.MatchString(c.Says) {
			return true
		}
	}
	return false
}
