package platform

import (
	"fmt"
	"strings"

	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/redisdb"
	"github.com/usherhq/usher/pkg/settings"
)

// Refusals are all promises that Usher rests on, by what they are promises of. Settings are looked at by every process before
// anything else; the rest by Open, and streams again with every /readyz.
func Refusals() []settings.Group {
	return append(settings.Rules(),
		settings.Group{Title: "The broker", Lines: ledger.ServerRules},
		settings.Group{Title: "Streams, buckets and object stores that are there already", Lines: ledger.StreamRules},
		settings.Group{Title: "Durable consumers that are there already", Lines: ledger.ConsumerRules},
		settings.Group{Title: "Redis", Lines: redisdb.Rules},
	)
}

// RefusalsMarkdown is Refusals for the documentation.
func RefusalsMarkdown() string {
	var b strings.Builder
	for _, g := range Refusals() {
		fmt.Fprintf(&b, "\n## %s\n\n| setting | refused | what it says |\n|---|---|---|\n", g.Title)
		for _, l := range g.Lines {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(l.Setting, ", ", "`, `"), cell(l.When), cell(l.Says))
		}
	}
	return b.String() + "\n"
}

// cell keeps a sentence from ending its cell, or from becoming markup.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "*", "\\*").Replace(s)
}
