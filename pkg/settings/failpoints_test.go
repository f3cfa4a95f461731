//go:build failpoints

package settings_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/settings"
)

func TestABinaryBuiltForFaultRunsDoesNotRunInProductionByAccident(t *testing.T) {
	for _, service := range []settings.Service{settings.API, settings.Mailer, settings.Acceptance, settings.All, settings.Operator} {
		vars := production()
		vars["USHER_ENV"] = settings.Production
		delete(vars, "USHER_FAILPOINTS")
		_, err := settings.Load(service, environ(vars))
		require.ErrorContains(t, err, "USHER_FAILPOINTS_ADDR", service)
		vars["USHER_FAILPOINTS_ADDR"] = "127.0.0.1:7070"
		_, err = settings.Load(service, environ(vars))
		require.NoError(t, err, service)
	}
	_, err := settings.Load(settings.All, nil)
	require.NoError(t, err, "a developer's machine is no production")
}
