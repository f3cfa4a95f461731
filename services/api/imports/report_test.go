package imports

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReportHoldsNoFormula(t *testing.T) {
	for field, want := range map[string]string{
		"=cmd|' /C calc'!A0":     "'=cmd|' /C calc'!A0",
		"+1+1":                   "'+1+1",
		"-1+1":                   "'-1+1",
		"@SUM(1)":                "'@SUM(1)",
		"\t=1":                   "'\t'=1",
		"\r=1":                   "'\r'=1",
		"\n=1":                   "'\n'=1",
		"\x00=1":                 "'\x00=1",
		"＝1+1":                   "'＝1+1",
		"  =1":                   "  '=1",
		"'=1":                    "''=1",
		"x;=1":                   "x;'=1",
		"x\", =1":                "x\", '=1",
		"x\t-1":                  "x\t'-1",
		"x|+1":                   "x|'+1",
		"ann+list@example.org":   "ann+list@example.org",
		"Ann-Marie O'Neil = 1":   "Ann-Marie O'Neil = 1",
		"Dr. Bob, the = of Carl": "Dr. Bob, the = of Carl",
		"":                       "",
	} {
		require.Equal(t, want, harmless(field), "%q", field)
	}
}

func TestAReportIsCSVHoweverItIsSplit(t *testing.T) {
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	fields := []string{"a\"b", "c;=d", "=e\r\nf", "g,h"}
	record(w, fields)
	require.NoError(t, w.Flush())
	r := csv.NewReader(&out)
	read, err := r.Read()
	require.NoError(t, err)
	require.Equal(t, []string{"a\"b", "c;'=d", "'=e\nf", "g,h"}, read) // the reader makes CR LF one character
	require.NotContains(t, strings.Join(read, ";"), ";=")
}
