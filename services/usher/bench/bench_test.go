package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// The short run asserts nothing about speed. That every invitation is mailed exactly once, and every accept becomes a
// membership, the scenarios check themselves.
func TestEveryScenarioRunsAndMailsEveryInvitationOnce(t *testing.T) {
	o, _, err := parse([]string{"-short", "-dir", t.TempDir()})
	require.NoError(t, err)
	var progress bytes.Buffer
	r, err := run(t.Context(), o, &progress)
	require.NoError(t, err, progress.String())

	measured := map[string]bool{}
	for _, f := range r.Figures {
		measured[f.Scenario] = true
	}
	for _, s := range scenarios {
		require.True(t, measured[s.name], s.name)
	}
	var table bytes.Buffer
	r.print(&table)
	require.Contains(t, table.String(), "accepted durably")
}

func TestOnlyTheScenariosThatMatchAreRun(t *testing.T) {
	o, asJSON, err := parse([]string{"-run", "nothing", "-json", "-dir", t.TempDir()})
	require.NoError(t, err)
	require.True(t, asJSON)
	require.False(t, o.run.MatchString("bulk"))
	_, _, err = parse([]string{"-run", "("})
	require.Error(t, err)
}

func TestAMailThatCameTwiceIsFoundOut(t *testing.T) {
	n, err := numberOf(string(addressOf(nil, 1234)))
	require.NoError(t, err)
	require.Equal(t, 1234, n)

	s := &stack{invited: 2}
	_, err = s.sorted("1 5 person-0@example.org inv_1 \n2 6 person-1@example.org inv_2 http://u/i/t\n")
	require.NoError(t, err)
	_, err = s.sorted("1 5 person-0@example.org inv_1 \n2 6 person-0@example.org inv_1 \n")
	require.ErrorContains(t, err, "twice")
	_, err = s.sorted("1 5 person-0@example.org inv_1 \n")
	require.ErrorContains(t, err, "1 mails for 2 invitations")
}

func TestFiguresTellWhetherTheyMeetTheirAim(t *testing.T) {
	var r report
	r.add("rate", 10, "/s").atLeast(9)
	r.add("time", 10, "ms").atMost(9)
	r.add("size", 10, "MiB")
	require.Contains(t, r.Figures[0].verdict(), "met")
	require.Contains(t, r.Figures[1].verdict(), "missed")
	require.NotContains(t, r.Figures[2].verdict(), "m")
}
