package platform_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/platform"
)

// Containers listen on all addresses, and their health check has only that setting to go by, proxy or not.
func TestHealthReachesAServiceThatListensEverywhere(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer service.Close()
	_, port, err := net.SplitHostPort(service.Listener.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"0.0.0.0", ""} {
		require.NoError(t, platform.Health(t.Context(), "http://"+net.JoinHostPort(host, port)+"/readyz"), "%q", host)
	}
}

func TestHealthTellsTheServicesOwnReasons(t *testing.T) {
	status := http.StatusOK
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"redis":"is down"}`))
	}))
	defer service.Close()
	require.NoError(t, platform.Health(t.Context(), service.URL))

	status = http.StatusServiceUnavailable
	require.ErrorContains(t, platform.Health(t.Context(), service.URL), "is down")

	service.Close()
	require.Error(t, platform.Health(t.Context(), service.URL))
}
