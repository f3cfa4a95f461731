package platform

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Health asks an address of a running service, like http://127.0.0.1:8080/readyz, whether all is well. It returns an error
// with the service's own reasons where it is not, and where nothing answers within 5 s.
func Health(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the service is in this container
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		reasons, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // the status alone tells enough
		return fmt.Errorf("health: %s: %s", answer.Status, reasons)
	}
	return nil
}

func healthCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
