// Package addresstest is the list of nasty and of good addresses that every door of Usher is tried with.
package addresstest

import (
	"strings"

	"github.com/usherhq/usher/pkg/address"
)

// Case is one address and the verdict it must get.
type Case struct {
	Name  string
	Input string
	// Reason is why it is refused; empty for a good address.
	Reason address.Reason
	// Stored and Canonical are the forms of a good address.
	Stored, Canonical string
}

// Good reports whether the address must be accepted.
func (c Case) Good() bool { return c.Reason == "" }

// Cases are all of them, the bad ones first.
func Cases() []Case { return append(Bad(), Good()...) }

// Good are addresses that must be accepted.
func Good() []Case {
	same := func(name, s string) Case { return Case{Name: name, Input: s, Stored: s, Canonical: s} }
	folded := func(name, s, canonical string) Case {
		return Case{Name: name, Input: s, Stored: s, Canonical: canonical}
	}
	return []Case{
		same("plain", "new.person@example.org"),
		same("shortest", "a@b.co"),
		same("digits", "123456@example.org"),
		same("plus tag stays its own mailbox", "ann+news@example.org"),
		same("dots stay their own mailbox", "a.n.n@example.org"),
		same("hyphens and underscores", "_first-last_@example.org"),
		same("apostrophe", "o'brien@example.org"),
		same("all of atext but routing", "#$&'*+-/=?^_`{|}~@example.org"),
		same("deep subdomain", "a@mail.eu.west.example.co.uk"),
		same("digits and hyphens in labels", "a@123.4-5.example.org"),
		same("hyphens in third and fourth place", "a@r3---sn.example.org"),
		same("local part of 64 bytes", strings.Repeat("a", 64)+"@example.org"),
		same("label of 63 bytes", "a@"+strings.Repeat("b", 63)+".org"),
		same("254 bytes", strings.Repeat("a", 64)+"@"+strings.Repeat(strings.Repeat("b", 45)+".", 4)+"abcde"),
		same("local part in Greek", "δοκιμή@example.org"),
		same("local part in Chinese", "用户@example.org"),
		same("local part in Hebrew", "דוגמה@example.org"),
		same("sharp s stays itself", "straße@example.org"),
		folded("capitals", "New.Person@Example.ORG", "new.person@example.org"),
		folded("capitals beyond ASCII", "ÄRGER@example.org", "ärger@example.org"),
		folded("capital sharp s", "STRAẞE@example.org", "straße@example.org"),
		{Name: "composed on reading", Input: "Jose\u0301@example.org", Stored: "José@example.org", Canonical: "josé@example.org"},
		{Name: "composed on folding", Input: "J\u030can@example.org", Stored: "J\u030can@example.org", Canonical: "\u01f0an@example.org"},
		{Name: "international domain", Input: "a@Bücher.example", Stored: "a@xn--bcher-kva.example", Canonical: "a@xn--bcher-kva.example"},
		{Name: "decomposed international domain", Input: "a@bu\u0308cher.example", Stored: "a@xn--bcher-kva.example", Canonical: "a@xn--bcher-kva.example"},
		{Name: "international domain in ASCII", Input: "a@XN--Bcher-KVA.example", Stored: "a@xn--bcher-kva.example", Canonical: "a@xn--bcher-kva.example"},
		{Name: "international top level", Input: "a@пример.рф", Stored: "a@xn--e1afmkfd.xn--p1ai", Canonical: "a@xn--e1afmkfd.xn--p1ai"},
		{Name: "domain written from right to left", Input: "a@דוגמה.example", Stored: "a@xn--6dbbec0c.example", Canonical: "a@xn--6dbbec0c.example"},
		{Name: "emoji domain", Input: "a@\U0001f4a9.example", Stored: "a@xn--ls8h.example", Canonical: "a@xn--ls8h.example"},
		{Name: "sharp s in a domain", Input: "a@straße.example", Stored: "a@xn--strae-oqa.example", Canonical: "a@xn--strae-oqa.example"},
	}
}

// Bad are addresses that must be refused, each for its reason.
func Bad() []Case {
	bad := func(reason address.Reason, name, s string) Case { return Case{Name: name, Input: s, Reason: reason} }
	return []Case{
		bad(address.Empty, "nothing", ""),
		bad(address.TooLong, "255 bytes", strings.Repeat("a", 64)+"@"+strings.Repeat(strings.Repeat("b", 45)+".", 4)+"abcdef"),
		bad(address.TooLong, "a thousand bytes", strings.Repeat("a", 988)+"@example.org"),
		bad(address.TooLong, "a megabyte", strings.Repeat("a@", 1<<19)),
		bad(address.TooLong, "a megabyte of comments", strings.Repeat("(", 1<<20)+"a@example.org"),
		bad(address.TooLong, "longer in punycode than typed", "a@"+strings.Repeat("ü.", 70)+"example.org"),

		bad(address.NotText, "byte that is no UTF-8", "a\xff@example.org"),
		bad(address.NotText, "half a character", "a\xc3@example.org"),
		bad(address.NotText, "overlong encoding of @", "a\xc1\x80example.org"),
		bad(address.NotText, "surrogate", "a\xed\xa0\x80@example.org"),
		bad(address.NotText, "UTF-16", "\xff\xfea\x00@\x00b\x00.\x00c\x00o\x00"),

		bad(address.Control, "NUL", "a\x00@example.org"),
		bad(address.Control, "NUL at the end", "a@example.org\x00"),
		bad(address.Control, "newline at the end", "a@example.org\n"),
		bad(address.Control, "carriage return and newline", "a\r\n@example.org"),
		bad(address.Control, "header injection", "a@example.org\r\nBcc: everyone@example.org"),
		bad(address.Control, "header injection before the @", "a\nBcc:b@example.org"),
		bad(address.Control, "tab", "a\t@example.org"),
		bad(address.Control, "vertical tab", "a\v@example.org"),
		bad(address.Control, "escape sequence", "\x1b[31ma@example.org"),
		bad(address.Control, "delete", "a\x7f@example.org"),
		bad(address.Control, "next line", "a\u0085@example.org"),
		bad(address.Control, "C1 control", "a\u009b@example.org"),
		bad(address.Control, "folded line", "a@\r\n example.org"),

		bad(address.Space, "space only", " "),
		bad(address.Space, "space before", " a@example.org"),
		bad(address.Space, "space behind", "a@example.org "),
		bad(address.Space, "space inside the local part", "a b@example.org"),
		bad(address.Space, "space inside the domain", "a@exam ple.org"),
		bad(address.Space, "spaces around the @", "a @ example.org"),
		bad(address.Space, "no-break space", "a\u00a0@example.org"),
		bad(address.Space, "ideographic space", "a\u3000@example.org"),
		bad(address.Space, "thin space", "a\u2009@example.org"),
		bad(address.Space, "line separator", "a\u2028@example.org"),
		bad(address.Space, "name in front", "Bob <bob@example.org>"),
		bad(address.Space, "name in quotes", `"Bob" <bob@example.org>`),
		bad(address.Space, "name behind", "bob@example.org (Bob)"),
		bad(address.Space, "two with comma and space", "a@example.org, b@example.org"),
		bad(address.Space, "encoded word", "=?utf-8?q?Bob?= <bob@example.org>"),
		bad(address.Space, "quoted space", `"a b"@example.org`),

		bad(address.Bidi, "right-to-left override", "a\u202egro.elpmaxe@example.org"),
		bad(address.Bidi, "left-to-right mark", "a\u200e@example.org"),
		bad(address.Bidi, "right-to-left mark", "a@exa\u200fmple.org"),
		bad(address.Bidi, "isolate", "\u2066a@example.org\u2069"),
		bad(address.Bidi, "arabic letter mark", "a\u061c@example.org"),

		bad(address.Invisible, "zero-width space", "a\u200b@example.org"),
		bad(address.Invisible, "zero-width joiner", "a\u200d@example.org"),
		bad(address.Invisible, "zero-width non-joiner", "a\u200cb@example.org"),
		bad(address.Invisible, "zero-width space in the domain", "a@example\u200b.org"),
		bad(address.Invisible, "byte order mark", "\ufeffa@example.org"),
		bad(address.Invisible, "word joiner", "a\u2060@example.org"),
		bad(address.Invisible, "soft hyphen", "a\u00ad@example.org"),
		bad(address.Invisible, "variation selector", "a\ufe0f@example.org"),
		bad(address.Invisible, "combining grapheme joiner", "a\u034f@example.org"),
		bad(address.Invisible, "hangul filler", "a\u3164@example.org"),
		bad(address.Invisible, "hangul choseong filler", "a\u115f@example.org"),
		bad(address.Invisible, "mongolian vowel separator", "a\u180e@example.org"),
		bad(address.Invisible, "tag character", "a\U000e0041@example.org"),
		bad(address.Invisible, "empty braille pattern", "a\u2800@example.org"),
		bad(address.Invisible, "interlinear annotation", "a\ufff9@example.org"),

		bad(address.Lookalike, "kelvin sign", "\u212aate@example.org"),
		bad(address.Lookalike, "kelvin sign in the domain", "a@\u212aing.org"),
		bad(address.Lookalike, "dotted capital I", "m\u0130ke@example.org"),
		bad(address.Lookalike, "dotted capital I in the domain", "mike@g\u0130thub.example"),
		bad(address.Lookalike, "full-width letters", "\uff41\uff42@example.org"),
		bad(address.Lookalike, "full-width at sign", "a\uff20example.org"),
		bad(address.Lookalike, "full-width dot", "a@example\uff0eorg"),
		bad(address.Lookalike, "small at sign", "a\ufe6bexample.org"),
		bad(address.Lookalike, "ligature", "\ufb01ne@example.org"),
		bad(address.Lookalike, "circled letter", "\u24d0@example.org"),
		bad(address.Lookalike, "mathematical letter", "\U0001d41a@example.org"),
		bad(address.Lookalike, "superscript", "a\u00b2@example.org"),
		bad(address.Lookalike, "long s", "\u017fam@example.org"),
		bad(address.Lookalike, "one dot leader", "a@example\u2024org"),
		bad(address.Lookalike, "half-width katakana", "\uff71@example.org"),

		bad(address.DisplayName, "name without space", "Bob<bob@example.org>"),
		bad(address.DisplayName, "angle brackets", "<bob@example.org>"),
		bad(address.DisplayName, "markup", "<script>@example.org"),
		bad(address.DisplayName, "source route", "<@relay.example:bob@example.org>"),

		bad(address.Quoted, "quoted local part", `"bob"@example.org`),
		bad(address.Quoted, "quoted @", `"a@b"@example.org`),
		bad(address.Quoted, "quoted nothing", `""@example.org`),
		bad(address.Quoted, "quoted dots", `"..a"@example.org`),
		bad(address.Quoted, "half quoted", `a"b"c@example.org`),
		bad(address.Quoted, "backslash", `a\@b@example.org`),

		bad(address.Comment, "comment before", "(hi)a@example.org"),
		bad(address.Comment, "comment behind the local part", "a(hi)@example.org"),
		bad(address.Comment, "comment in the domain", "a@(hi)example.org"),
		bad(address.Comment, "nested comments", "a@example.org((((((((hi))))))))"),

		bad(address.Literal, "IPv4 literal", "a@[127.0.0.1]"),
		bad(address.Literal, "IPv6 literal", "a@[IPv6:::1]"),
		bad(address.Literal, "general literal", "a@[tag:x]"),

		bad(address.Several, "two with comma", "a@example.org,b@example.org"),
		bad(address.Several, "two with semicolon", "a@example.org;b@example.org"),
		bad(address.Several, "two at signs", "a@b@example.org"),
		bad(address.Several, "doubled at sign", "a@@example.org"),
		bad(address.Several, "at sign at the end", "a@example.org@"),
		bad(address.Several, "source route without brackets", "@relay.example,@other.example:bob@example.org"),
		bad(address.Several, "group", "friends:a@example.org,b@example.org;"),

		bad(address.NoAt, "word", "bob"),
		bad(address.NoAt, "domain alone", "example.org"),
		bad(address.NoAt, "spelt out", "bob.at.example.org"),

		bad(address.EmptyLocal, "no local part", "@example.org"),
		bad(address.EmptyLocal, "at sign alone", "@"),
		bad(address.LongLocal, "local part of 65 bytes", strings.Repeat("a", 65)+"@example.org"),
		bad(address.LongLocal, "local part of 66 bytes in 33 letters", strings.Repeat("ä", 33)+"@example.org"),
		bad(address.LongLocal, "longer than 64 bytes once folded", strings.Repeat("\u023a", 32)+"@example.org"),
		bad(address.Dots, "dot first", ".a@example.org"),
		bad(address.Dots, "dot last", "a.@example.org"),
		bad(address.Dots, "two dots", "a..b@example.org"),
		bad(address.Dots, "dot alone", ".@example.org"),
		bad(address.Routing, "recipient variable", "%recipient.x%@example.org"),
		bad(address.Routing, "recipient token variable", "%recipient.token%@example.org"),
		bad(address.Routing, "unsubscribe variable", "%unsubscribe_url%@example.org"),
		bad(address.Routing, "percent route", "user%other.example@example.org"),
		bad(address.Routing, "bang path", "host!user@example.org"),
		bad(address.Routing, "percent-encoded newline", "a%0d%0aBcc@example.org"),
		bad(address.LocalCharacter, "colon", "a:b@example.org"),
		bad(address.LocalCharacter, "mailto link", "mailto:a@example.org"),
		bad(address.LocalCharacter, "emoji", "\U0001f600@example.org"),
		bad(address.LocalCharacter, "dash that is no hyphen", "a\u2013b@example.org"),
		bad(address.LocalCharacter, "curly apostrophe", "o\u2019brien@example.org"),
		bad(address.LocalCharacter, "mark without a letter", "\u0301a@example.org"),
		bad(address.LocalCharacter, "private use", "\ue000@example.org"),
		bad(address.LocalCharacter, "not a character", "\ufffe@example.org"),
		bad(address.LocalCharacter, "replacement character", "\ufffd@example.org"),
		bad(address.LocalCharacter, "letter composed into a sign", "=\u0338@example.org"),

		bad(address.EmptyDomain, "no domain", "a@"),
		bad(address.NoDot, "no dot", "a@b"),
		bad(address.NoDot, "localhost", "root@localhost"),
		bad(address.NoDot, "IPv6 without brackets", "a@::1"),
		bad(address.NoDot, "number", "a@2130706433"),
		bad(address.DomainLabel, "dot before the domain", "a@.example.org"),
		bad(address.DomainLabel, "dot behind the domain", "a@example.org."),
		bad(address.DomainLabel, "two dots in the domain", "a@example..org"),
		bad(address.DomainLabel, "dot alone for a domain", "a@."),
		bad(address.DomainLabel, "hyphen first", "a@-example.org"),
		bad(address.DomainLabel, "hyphen last", "a@example-.org"),
		bad(address.DomainLabel, "underscore", "a@exa_mple.org"),
		bad(address.DomainLabel, "label of 64 bytes", "a@"+strings.Repeat("b", 64)+".org"),
		bad(address.DomainLabel, "port", "a@example.org:25"),
		bad(address.DomainLabel, "path", "a@example.org/inbox"),
		bad(address.DomainLabel, "query", "a@example.org?subject=hi"),
		bad(address.DomainLabel, "fragment", "a@example.org#top"),
		bad(address.DomainLabel, "variable in the domain", "a@%recipient.x%.org"),
		bad(address.DomainLabel, "wildcard", "a@*.example.org"),
		bad(address.DomainName, "punycode of plain ASCII", "a@xn--example-.org"),
		bad(address.DomainName, "punycode of nothing", "a@xn--.org"),
		bad(address.DomainName, "broken punycode", "a@xn--aaaaaaaa999999999.org"),
		bad(address.DomainName, "punycode that decodes to capitals", "a@xn--bcher-2pa.example"),
		bad(address.DomainName, "punycode that decodes to a decomposed letter", "a@xn--bucher-xyd.example"),
		bad(address.DomainName, "punycode of a zero-width joiner", "a@xn--ab-m1t.example"),
		bad(address.DomainName, "ideographic full stop", "a@example\u3002com.example"),
		bad(address.DomainName, "half-width katakana in the domain", "a@\uff71.example"),
		bad(address.DomainName, "mixed directions in one label", "a@aדוגמה.example"),
		bad(address.DomainName, "mark first in a label", "a@\u0301a.example"),
		bad(address.TopLevel, "IPv4 without brackets", "a@127.0.0.1"),
		bad(address.TopLevel, "IPv4 in hexadecimal", "a@127.0.0.0x1"),
		bad(address.TopLevel, "numeric top level", "a@example.123"),
		bad(address.TopLevel, "top level of one letter", "a@example.x"),
		bad(address.TopLevel, "digits in the top level", "a@example.c0m"),
	}
}
