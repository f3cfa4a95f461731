package console

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressesArePastedInAnyCommonShape(t *testing.T) {
	jane, bob := pasted{Email: "jane@example.org"}, pasted{Email: "bob@example.org"}
	janeDoe, bobMiller := pasted{"Jane Doe", "jane@example.org"}, pasted{"Bob Miller", "bob@example.org"}
	for text, want := range map[string][]pasted{
		"":                                      nil,
		" \n\t,;":                               nil,
		"jane@example.org":                      {jane},
		"jane@example.org,bob@example.org":      {jane, bob},
		"jane@example.org; bob@example.org;":    {jane, bob},
		"jane@example.org\r\nbob@example.org\n": {jane, bob},
		"jane@example.org bob@example.org":      {jane, bob},
		"jane@example.org\tbob@example.org":     {jane, bob},
		"jane@example.org, JANE@example.org":    {jane},
		"<jane@example.org>":                    {jane},
		"mailto:jane@example.org":               {jane},
		"Jane Doe <jane@example.org>":           {janeDoe},
		"\"Jane Doe\" <jane@example.org>, Bob Miller <bob@example.org>": {janeDoe, bobMiller},
		"Jane Doe <jane@example.org>; Bob Miller bob@example.org":       {janeDoe, bobMiller},
		"Jane Doe (jane@example.org)":                                   {janeDoe},
		"Doe, Jane <jane@example.org>":                                  {{"Doe, Jane", "jane@example.org"}},
		"\"Doe, Jane\" <jane@example.org>; bob@example.org":             {{"Doe, Jane", "jane@example.org"}, bob},
		"Name\tE-mail\nJane Doe\tjane@example.org":                      {{Email: "Name, E-mail"}, {"Jane Doe", "jane@example.org"}},
		"1. jane@example.org\n2. bob@example.org":                       {jane, bob},
		"jane@example.org\u200b,\ufeffbob@example.org":                  {jane, bob},
		"jane@@example":                     {{Email: "jane@@example"}},
		"not an address":                    {{Email: "not an address"}},
		"한글 이름 <jane@example.org>":          {{"한글 이름", "jane@example.org"}},
		"jane@exämple.org":                  {{Email: "jane@exämple.org"}},
		"<script>alert(1)</script>@evil.co": {{Email: "script"}},
	} {
		require.Equal(t, want, addresses(text), "%q", text)
	}
}

func FuzzPaste(f *testing.F) {
	f.Add("Jane <a@b.c>, \"x, y\" <d@e.f>;;\n\tg@h")
	f.Fuzz(func(t *testing.T, text string) {
		for _, one := range addresses(text) {
			require.NotEmpty(t, one.Email)
			require.False(t, strings.ContainsAny(one.Email, "\r\n"))
		}
	})
}
