// Package refusal is the form in which Usher writes down what it rests on: one row for each promise of a setting, a server or
// a stream, with what breaks it and the sentence that refuses it. The rows stand where their subject is known (settings, ledger,
// redisdb); platform has them all, and docs/refusals.md is written from them.
package refusal

import (
	"fmt"
	"regexp"
)

// Rule is one promise of a subject.
type Rule[T any] struct {
	// Setting is what operators know it by: a variable, a line of a server's configuration.
	Setting string
	// When is what is refused, for the documentation.
	When string
	// Says is the sentence that refuses it, with verbs of package fmt for the values that Broken gives. It never holds a secret.
	Says string
	// Broken looks at the subject: nil where the promise is kept, else the values of Says, of which there may be none.
	Broken func(T) Values
}

// Of makes a rule of its four parts.
func Of[T any](setting, when, says string, broken func(T) Values) Rule[T] {
	return Rule[T]{Setting: setting, When: when, Says: says, Broken: broken}
}

// Values are what a sentence tells of the subject.
type Values []any

// If gives the values where a promise is broken, and nil where it is kept.
func If(broken bool, values ...any) Values {
	if !broken {
		return nil
	}
	return append(Values{}, values...)
}

// Check gives the sentence of every rule that the subject breaks, in the order of the rules.
func Check[T any](rules []Rule[T], subject T) []string {
	var broken []string
	for _, r := range rules {
		if values := r.Broken(subject); values != nil {
			broken = append(broken, fmt.Sprintf(r.Says, values...))
		}
	}
	return broken
}

// Line is a rule as the documentation has it.
type Line struct {
	Setting, When, Says string
}

// verb is a verb of package fmt as the sentences have them.
var verb = regexp.MustCompile(`%[dqsv]`)

// Lines are the rules as the documentation has them: the values of a sentence are left open.
func Lines[T any](rules []Rule[T]) []Line {
	lines := make([]Line, len(rules))
	for i, r := range rules {
		lines[i] = Line{Setting: r.Setting, When: r.When, Says: verb.ReplaceAllString(r.Says, "…")}
	}
	return lines
}
