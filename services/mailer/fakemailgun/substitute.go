package fakemailgun

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// values are what a mail's placeholders stand for; nil in a call without recipient variables.
type values map[string]string

// variablesOf reads one recipient's variables.
func variablesOf(raw json.RawMessage, to string) values {
	var strs map[string]string
	if json.Unmarshal(raw, &strs) == nil && strs != nil { // the usual form, read quickly
		strs["_to"] = to
		return strs
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(raw, &fields) // what is no dictionary has no variables
	v := values{"_to": to}
	for name, field := range fields {
		v[name] = strings.Trim(string(field), `"`)
	}
	return v
}

// builtIn are what Mailgun replaces in any mail.
var builtIn = regexp.MustCompile(`%(unsubscribe_url|tag_unsubscribe_url|unsubscribe_email|tag_unsubscribe_email|mailing_list_unsubscribe_url)%`)

const unsubscribeURL = "https://unsubscribe.mailgun.example/u/"

// fill replaces placeholders. It looks at what it put in once more, although Mailgun may not: whoever relies on that is
// found out here.
func (v values) fill(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if v != nil {
		s = v.once(v.once(s))
	}
	return builtIn.ReplaceAllString(s, unsubscribeURL)
}

const open = "%recipient."

// once replaces "%recipient.name%" from left to right. A name that the recipient has not stays as it is.
func (v values) once(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, open)
		if i < 0 {
			break
		}
		end := strings.IndexByte(s[i+len(open):], '%')
		if end < 0 {
			break
		}
		end += i + len(open)
		if value, ok := v[s[i+len(open):end]]; ok {
			b.WriteString(s[:i])
			b.WriteString(value)
			s = s[end+1:]
		} else {
			b.WriteString(s[:end])
			s = s[end:]
		}
	}
	b.WriteString(s)
	return strings.ReplaceAll(b.String(), "%recipient%", v["_to"])
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
