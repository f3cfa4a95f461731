package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/apikeys"
)

// I9: a request that nobody was found for is nobody's, and never a machine's.
func TestNobodyMayNothing(t *testing.T) {
	nobody := callerOf(t.Context())
	require.False(t, nobody.may("acme"))
	require.False(t, nobody.machine())
	require.Empty(t, nobody.by())

	member := caller{person: "p", actor: "p@example.org"}
	require.True(t, member.may("acme"), "what a member may, the role says")
	require.False(t, member.machine())
	machine := caller{key: &apikeys.Key{ID: "key_1", Organization: "acme"}}
	require.True(t, machine.machine())
	require.True(t, machine.may("acme"))
	require.False(t, machine.may("other"))
	require.False(t, caller{key: machine.key, person: "p"}.machine(), "who acts for a member has that member's authority")
}
