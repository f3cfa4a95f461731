package colour_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/colour"
)

func TestOnlySixDigitsAreAColour(t *testing.T) {
	c, ok := colour.Parse("#1A5fb4")
	require.True(t, ok)
	require.Equal(t, "#1a5fb4", c.String())
	for _, bad := range []string{"", "#fff", "1a5fb4", "#1a5fbg", "#1a5fb4\n", "#1a5fb4;}", "red", "rgb(0,0,0)", "##1a5fb", "#1a5fb4 "} {
		_, ok := colour.Parse(bad)
		require.False(t, ok, "%q", bad)
	}
}

func TestContrastsAreThoseOfTheStandard(t *testing.T) {
	require.InDelta(t, 21, colour.Contrast(colour.Black, colour.White), 0.001)
	require.InDelta(t, 1, colour.Contrast(colour.White, colour.White), 0.001)
	grey, _ := colour.Parse("#767676") // the lightest grey that may be text on white
	require.InDelta(t, 4.54, colour.Contrast(grey, colour.White), 0.005)
	require.InDelta(t, colour.Contrast(grey, colour.White), colour.Contrast(colour.White, grey), 1e-12)
}

func TestTextOnAnyColourCanBeRead(t *testing.T) {
	for n := range 1 << 15 {
		c := colour.Colour{byte(n >> 10 << 3), byte(n >> 5 << 3), byte(n << 3)}
		require.GreaterOrEqual(t, colour.Contrast(c, c.Text()), colour.Readable, c)
	}
}
