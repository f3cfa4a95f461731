package imports

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"

	"github.com/usherhq/usher/pkg/problem"
)

// parse reads a whole file.
func parse(t testing.TB, file string) (rows []parsed, r *reader) {
	t.Helper()
	r, err := newReader(strings.NewReader(file))
	require.NoError(t, err)
	for {
		row, err := r.next()
		if errors.Is(err, io.EOF) {
			return rows, r
		}
		require.NoError(t, err)
		rows = append(rows, row)
	}
}

func utf16(t *testing.T, order unicode.Endianness, text string) string {
	encoded, err := unicode.UTF16(order, unicode.UseBOM).NewEncoder().String(text)
	require.NoError(t, err)
	return encoded
}

func TestOneFileInManyShapesIsTheSamePeople(t *testing.T) {
	want := []parsed{
		{line: 2, Fields: Fields{Email: "ann@example.org", Role: "admin", Name: "Ann, the first"}},
		{line: 3, Fields: Fields{Email: "bjørn@example.org", Role: "member", Name: "Bjørn 안녕"}},
	}
	plain := "email,role,name\nann@example.org,admin,\"Ann, the first\"\nbjørn@example.org,member,Bjørn 안녕\n"
	for name, file := range map[string]string{
		"commas":                 plain,
		"CR LF":                  strings.ReplaceAll(plain, "\n", "\r\n"),
		"CR":                     strings.ReplaceAll(plain, "\n", "\r"),
		"no last line end":       strings.TrimSuffix(plain, "\n"),
		"UTF-8 with a mark":      "\ufeff" + plain,
		"UTF-16 little endian":   utf16(t, unicode.LittleEndian, plain),
		"UTF-16 big endian":      utf16(t, unicode.BigEndian, plain),
		"semicolons":             "E-Mail;Rolle;Name\nann@example.org;admin;Ann, the first\nbjørn@example.org;member;Bjørn 안녕\n",
		"tabs":                   "email\trole\tname\nann@example.org\tadmin\tAnn, the first\nbjørn@example.org\tmember\tBjørn 안녕\n",
		"tabs and an empty cell": "email\tphone\trole\tname\nann@example.org\t\tadmin\tAnn, the first\nbjørn@example.org\t\tmember\tBjørn 안녕\n",
		"another order and case": "NAME,Role,EMAIL\n\"Ann, the first\",admin,ann@example.org\nBjørn 안녕,member,bjørn@example.org\n",
		"spaces and more quotes": " \"E-mail address\", role , name \n \"ann@example.org\", admin, \"Ann, the first\"\nbjørn@example.org ,member,\u00a0Bjørn 안녕\u200b\n",
		"Korean headings":        "이메일,역할,이름\nann@example.org,admin,\"Ann, the first\"\nbjørn@example.org,member,Bjørn 안녕\n",
		"mail program":           "email,role\n\"\"\"Ann, the first\"\" <ann@example.org>\",admin\nBjørn 안녕 <bjørn@example.org>,member\n",
		"two name columns":       "email,role,first name,last name\nann@example.org,admin,\"Ann,\",the first\nbjørn@example.org,member,Bjørn,안녕\n",
	} {
		t.Run(name, func(t *testing.T) {
			rows, _ := parse(t, file)
			require.Equal(t, want, rows)
		})
	}
}

func TestTheSeparatorMayBeNamedInTheFirstLine(t *testing.T) {
	rows, _ := parse(t, "sep=;\r\nemail;role,name\r\n\r\na@example.org;member\r\n")
	require.Equal(t, []parsed{{line: 4, Fields: Fields{Email: "a@example.org"}}}, rows)
}

func TestABareListOfAddressesNeedsNoHeader(t *testing.T) {
	for _, list := range []string{
		"a@example.org\n\nBob <b@example.org>\n\"Cleo, the third\" <c@example.org>, d@example.org;\n",
		"a@example.org; Bob <b@example.org>,,\"Cleo, the third\" <c@example.org>\t\"d@example.org\"",
		"\"a@example.org\"\nBob <b@example.org>\n\"Cleo, the third\" <c@example.org>\nd@example.org",
	} {
		rows, r := parse(t, list)
		require.Nil(t, r.columns)
		var people []Fields
		for _, row := range rows {
			require.Empty(t, row.wrong)
			people = append(people, row.Fields)
		}
		require.Equal(t, []Fields{
			{Email: "a@example.org"}, {Email: "b@example.org", Name: "Bob"}, {Email: "c@example.org", Name: "Cleo, the third"}, {Email: "d@example.org"},
		}, people)
	}
	rows, _ := parse(t, "a@example.org\nnobody\n")
	require.Equal(t, parsed{
		line: 2, Fields: Fields{Email: "nobody"}, wrong: "This is not an address. To give names or roles, name the columns in the first line.",
	}, rows[1])
}

func TestUnknownColumnsAreIgnoredAndNamed(t *testing.T) {
	rows, r := parse(t, "email,Shoe size,,role,expires\na@example.org,44,x,member,7 days\n")
	require.Equal(t, []string{"Shoe size"}, r.ignored)
	require.Equal(t, []parsed{{line: 2, Fields: Fields{Email: "a@example.org", Role: "member", ExpiresIn: "168h"}}}, rows)
}

func TestAFileThatCannotHoldPeopleIsRefusedWithAReason(t *testing.T) {
	for file, reason := range map[string]string{
		"":                                 "The file is empty.",
		" \r\n \n":                         "The file is empty.",
		"\ufeff":                           "The file is empty.",
		"PK\x03\x04rest of a workbook":     "workbook",
		"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "workbook",
		"e\x00m\x00a\x00i\x00l\x00":        "not text in UTF-8",
		"name,role\nAnn,admin\n":           "no column is called \"email\"",
		"email,mail\na@example.org,b\n":    "two columns mean the same",
		"email,na\xefve\n":                 "Line 1: There are characters that are not UTF-8",
		"email,\"role\n":                   "Line 1: A quote is opened and never closed.",
		strings.Repeat("x", 20_000) + "\n": "Line 1: The line is too long.",
	} {
		_, err := newReader(strings.NewReader(file))
		require.True(t, problem.Is(err, problem.Malformed), "%.20q: %v", file, err)
		require.ErrorContains(t, err, reason, "%.20q", file)
	}
}

func TestOneBadLineCostsOneRow(t *testing.T) {
	long := strings.Repeat("x", maxRecord+1)
	for name, bad := range map[string]struct{ line, reason string }{
		"a quote inside":         {`b"b@example.org,member,x`, "A quote stands where none may"},
		"text after a quote":     {`"b@example.org"x,member,x`, "A quote stands where none may"},
		"a quote never closed":   {`"b@example.org,member,x`, "A quote is opened and never closed."},
		"not UTF-8":              {"b@example.org,member,na\xefve", "not UTF-8"},
		"a NUL":                  {"b@example.org,member,\x00", "NUL"},
		"a field too many":       {"b@example.org,member,x,y", "The line has 4 fields, the first line names 3 columns."},
		"very long":              {"b@example.org,member," + long, "The line is too long."},
		"very long and quoted":   {`b@example.org,member,"` + long + `"`, "The line is too long."},
		"long with a lost quote": {`b@example.org,member,"` + long[:maxRecord-100], "A quote is opened and never closed."},
	} {
		t.Run(name, func(t *testing.T) {
			file := "email,role,name\na@example.org,member,Ann\n" + bad.line + "\n" + strings.Repeat("c@example.org,member,Cleo\n", 12)
			rows, _ := parse(t, file)
			require.Len(t, rows, 14)
			require.Empty(t, rows[0].wrong)
			require.Equal(t, 3, rows[1].line)
			require.Contains(t, rows[1].wrong, bad.reason)
			for i, row := range rows[2:] {
				require.Equal(t, parsed{line: 4 + i, Fields: Fields{Email: "c@example.org", Role: "member", Name: "Cleo"}}, row)
			}
		})
	}
}

func TestAFieldMayHaveLineBreaksInQuotes(t *testing.T) {
	rows, _ := parse(t, "email,note\r\na@example.org,\"one\r\n\"\"two\"\"\"\r\nb@example.org,three\r\n")
	require.Equal(t, []parsed{
		{line: 2, Fields: Fields{Email: "a@example.org", Note: "one\n\"two\""}},
		{line: 4, Fields: Fields{Email: "b@example.org", Note: "three"}},
	}, rows)
}

func TestALostConnectionIsNotTheEndOfAFile(t *testing.T) {
	r, err := newReader(io.MultiReader(strings.NewReader("email\na@example.org\nb@exam"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	for err == nil {
		_, err = r.next()
	}
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// FuzzReader sees that no file, however broken, makes the reader panic, loop, keep more than a record or lose count of lines.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"email,role\na@example.org,member\n", "a@example.org\nb@example.org", "email;note\r\na@b.c;\"x\r\ny\"\r\n", "\xff\xfee\x00m\x00",
		"sep=\t\nemail\trole\n\t\t\n", "email\n\"", "email\na\",\"b\na\",\"b\n", "email,\"na\"\"me\"\n\"a\"\"b\",\"\n\n\"\n", "\xef\xbb\xbfemail\n=1+1\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := newReader(strings.NewReader(string(file)))
		if err != nil {
			require.True(t, problem.Is(err, problem.Malformed), "%v", err)
			return
		}
		last := 0
		for n := 0; ; n++ {
			row, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			require.LessOrEqual(t, n, len(file), "more rows than bytes")
			require.GreaterOrEqual(t, row.line, last)
			last = row.line
			for _, field := range []string{row.Email, row.Role, row.Name, row.Locale, row.Organization, row.ExpiresIn, row.Note} {
				require.LessOrEqual(t, len(field), 4*maxRecord)
				require.True(t, utf8.ValidString(field))
			}
		}
	})
}
