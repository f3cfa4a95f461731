package address_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/pkg/address"
	"github.com/usherhq/usher/pkg/address/addresstest"
)

func TestEveryListedAddressGetsItsVerdict(t *testing.T) {
	require.GreaterOrEqual(t, len(addresstest.Bad()), 120)
	for _, c := range addresstest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			a, err := address.Parse(c.Input)
			if c.Good() {
				require.NoError(t, err)
				require.Equal(t, c.Stored, a.Stored)
				require.Equal(t, c.Canonical, a.Canonical)
				return
			}
			require.Error(t, err)
			require.Equal(t, c.Reason, err.(*address.Error).Reason)
			require.True(t, address.Is(err, c.Reason))
			require.Zero(t, a)
		})
	}
}

func TestARefusalIsASentenceThatNeverRepeatsTheAddress(t *testing.T) {
	for _, c := range addresstest.Bad() {
		_, err := address.Parse(c.Input)
		require.Regexp(t, `^[A-Z].*\.$`, err.Error(), c.Name)
		if len(c.Input) > 8 {
			require.NotContains(t, err.Error(), c.Input, c.Name)
		}
	}
}

// T166, V041: what is compared never joins two mailboxes that differ in more than case or composition.
func TestComparingKeepsDifferentMailboxesApart(t *testing.T) {
	for _, pair := range [][2]string{
		{"strasse@example.org", "straße@example.org"},
		{"mike@example.org", "mıke@example.org"},
		{"ann@example.org", "ann+news@example.org"},
		{"a.nn@example.org", "ann@example.org"},
		{"paypal@example.org", "pаypal@example.org"}, // the second with a Cyrillic а
		{"a@strasse.example", "a@straße.example"},
		{"a@sub.example.org", "a@example.org"},
	} {
		one, err := address.Canonical(pair[0])
		require.NoError(t, err)
		other, err := address.Canonical(pair[1])
		require.NoError(t, err)
		require.NotEqual(t, one, other, pair[0])
	}
}

func TestCanonicalOfCanonicalIsTheSame(t *testing.T) {
	pieces := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "Z", "9", ".", "-", "+", "@", "xn--", "example", "org", "ü", "Ü", "u\u0308", "ß", "ẞ",
			"Σ", "ς", "İ", "ı", "K", "ﬁ", "Ⱥ", "Ω", "ϴ", "ᲀ", "ǅ", "दे", "한", "\u1112\u1161\u11ab", "ａ", "。", "ⷶ", "𝐚", "ꙋ", "Ჰ"}),
		rapid.Map(rapid.Rune(), func(r rune) string { return string(r) }),
	)
	words := func(most int) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(pieces, 1, most), func(s []string) string { return strings.Join(s, "") })
	}
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		s := words(12).Draw(t, "local") + "@" + words(8).Draw(t, "domain") + rapid.SampledFrom([]string{".org", ".рф", ""}).Draw(t, "top")
		a, err := address.Parse(s)
		if err != nil {
			return
		}
		accepted++
		again, err := address.Parse(a.Canonical)
		if err != nil || again.Canonical != a.Canonical || again.Stored != a.Canonical {
			t.Fatalf("%+q: %+q became %+q: %v", s, a.Canonical, again, err)
		}
		stored, err := address.Parse(a.Stored)
		if err != nil || stored != a {
			t.Fatalf("%+q: stored %+q became %+q: %v", s, a.Stored, stored, err)
		}
	})
	require.NotZero(t, accepted)
}

// Every single character, so that no corner of Unicode breaks what the samples above promise.
func TestEveryCharacterFoldsOnceAndForAll(t *testing.T) {
	const assigned = 0x323b0 // beyond lie only variation selectors, tags and private use
	for r := range rune(assigned) {
		for _, s := range []string{string(r) + "@example.org", "a" + string(r) + "@example.org", "a@a" + string(r) + "a.example"} {
			a, err := address.Parse(s)
			if err != nil {
				continue
			}
			again, err := address.Parse(a.Canonical)
			require.NoError(t, err, "%+q", s)
			require.Equal(t, a.Canonical, again.Canonical, "%+q", s)
		}
	}
}

func TestMaskShowsOneLetterAndTheDomain(t *testing.T) {
	require.Equal(t, "n•••@example.org", address.Mask("new.person@example.org"))
	require.Equal(t, "n•••@example.org", address.Mask("n@example.org"))
	require.Equal(t, "δ•••@example.org", address.Mask("δοκιμή@example.org"))
	require.Equal(t, "•••", address.Mask("@example.org"))
	require.Equal(t, "•••", address.Mask("new.person"))
	require.Equal(t, "•••", address.Mask(""))
	require.Equal(t, "•••", address.Mask("\xff@example.org"))
}

func TestPersonIsAKeyedHashInTheAlphabetOfSubjects(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	// The first 16 bytes of HMAC-SHA-256, taken with another program, in Crockford's base 32.
	require.Equal(t, "265thjdsyp7552qx7eptt56frx", address.Person(key, "new.person@example.org"))
	require.Regexp(t, `^[0-7][0-9a-hjkmnp-tv-z]{25}$`, address.Person(key, "a@example.org"))
	require.NotEqual(t, address.Person(key, "a@example.org"), address.Person(key[1:], "a@example.org"))
	require.NotEqual(t, address.Person(key, "a@example.org"), address.Person(key, "b@example.org"))
}

func FuzzParse(f *testing.F) {
	for _, c := range addresstest.Cases() {
		if len(c.Input) < 1000 {
			f.Add(c.Input)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := address.Parse(s)
		if err != nil {
			require.Zero(t, a)
			require.NotEmpty(t, err.Error())
			return
		}
		again, err := address.Parse(a.Canonical)
		require.NoError(t, err)
		require.Equal(t, a.Canonical, again.Canonical)
		require.Equal(t, 1, strings.Count(a.Stored, "@"))
		require.LessOrEqual(t, len(a.Stored), 254)
		require.NotContains(t, address.Mask(a.Canonical), a.Canonical)
	})
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"new.person@example.org", "josé@bücher.example"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = address.Parse(s)
			}
		})
	}
}

func BenchmarkPerson(b *testing.B) {
	key := []byte("0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		address.Person(key, "new.person@example.org")
	}
}
