package events_test

import (
	"regexp"
	"strings"
	"testing"
)

// Others import this module: what it requires, they get, and a replace directive would make it unusable for them.
func TestTheModuleRequiresUUIDAndReplacesNothing(t *testing.T) {
	text := read(t, "go.mod")
	if !strings.Contains(text, "require github.com/google/uuid ") {
		t.Error("google/uuid is not required")
	}
	for _, module := range regexp.MustCompile(`\S+\.\S+/\S+ v\S+`).FindAllString(text, -1) {
		if !strings.HasPrefix(module, "github.com/google/uuid ") {
			t.Errorf("the module depends on %s", module)
		}
	}
	if strings.Contains(text, "replace") {
		t.Error("the module replaces another")
	}
}
