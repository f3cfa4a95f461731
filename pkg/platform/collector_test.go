package platform

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASmallHeapMayGrowFarAndALargeOneNoMoreThanUsual(t *testing.T) {
	const MiB = 1 << 20
	require.Equal(t, mostPercent, growth(0))
	require.Equal(t, mostPercent, growth(4*MiB))
	require.Equal(t, 200, growth(headroom/2))
	require.Equal(t, leastPercent, growth(headroom))
	require.Equal(t, leastPercent, growth(1000*MiB))
}

func TestRestBeginsAnewWithEveryBurst(t *testing.T) {
	var r rest
	r.look()
	before := r.looks
	r.look()
	r.look()
	require.Equal(t, before+2, r.looks)
	burst = make([]byte, 2*restful)
	r.look()
	require.Zero(t, r.looks)
}

var burst []byte // keeps the allocation from being optimized away
