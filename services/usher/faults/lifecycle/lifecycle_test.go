package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/services/usher/faults/pipeline"
)

func TestT120EveryAnswerIsTheModels(t *testing.T) {
	p, err := pipeline.Start(t.Context(), pipeline.Options{Dir: t.TempDir(), Fronts: fronts})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	m := &machines{Pipeline: p, ctx: t.Context()}
	rapid.Check(t, m.check)
	t.Logf("%d commands in %d organizations", m.steps, m.organizations)
}
