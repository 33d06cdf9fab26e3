package world

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/poll"
)

// WaitReady waits until all brokers are ready, each for no longer than patience.
func (w *World) WaitReady(ctx context.Context, patience time.Duration) error {
	for i := range w.Brokers {
		if err := poll.Within(ctx, patience, w.Brokers[i].Name+" is ready", func() error { return w.brokerReady(ctx, i) }); err != nil {
			return err
		}
	}
	return nil
}

// AnyReady reports whether a broker is ready.
func (w *World) AnyReady(ctx context.Context) bool {
	for i := range w.Brokers {
		if w.brokerReady(ctx, i) == nil {
			return true
		}
	}
	return false
}

// brokerReady returns an error, with the broker's reason, unless it is ready.
func (w *World) brokerReady(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*broker.ReadyTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.Health[i]+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		var reason [300]byte
		n, _ := answer.Body.Read(reason[:])
		return fmt.Errorf("%s: %s", answer.Status, strings.TrimSpace(string(reason[:n])))
	}
	return nil
}
