package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// readiness is what /readyz says of a broker, from before it is one.
type readiness struct {
	mu     sync.Mutex
	broker *Broker // nil until it is up
	why    error   // what the start waits for
}

func NewReadiness() *readiness { return &readiness{why: errors.New("starting")} }

// Waiting says what the start waits for.
func (r *readiness) Waiting(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = fmt.Errorf("starting: %w", why)
}

// Up says that the broker is up.
func (r *readiness) Up(b *Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broker = b
}

// ready returns what is wrong, or nil, and then, if much is held after a restore, why.
func (r *readiness) ready(ctx context.Context) (held string, err error) {
	r.mu.Lock()
	b, why := r.broker, r.why
	r.mu.Unlock()
	if b == nil {
		return "", why
	}
	if err := b.Ready(ctx); err != nil {
		return "", err
	}
	if held, err = b.Held(ctx); err != nil {
		return "", nil // it serves all the same
	}
	return held, nil
}

// ReadyTimeout bounds the answer to a question for the broker's health.
const ReadyTimeout = 3 * time.Second

// ServeHealth answers on addr: /healthz as long as the process works at all, /readyz
// if the broker can do its work now, and otherwise 503 with what is wrong, and
// /metrics. The function it returns ends it.
func ServeHealth(addr string, state *readiness, metrics http.Handler) (stop func(), at string, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("--health: %w; choose another address", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), ReadyTimeout)
		defer cancel()
		held, err := state.ready(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok") // whoever asked has gone, or not
		// It serves all the same: a broker that is taken out of service because of
		// this would not serve those who have done nothing.
		if held != "" {
			_, _ = fmt.Fprintf(w, "held: %s; see \"lessor restore\"\n", held)
		}
	})
	mux.Handle("GET /metrics", metrics)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: ReadyTimeout}
	go func() { _ = s.Serve(l) }() // ends with Close
	return func() { _ = s.Close() }, l.Addr().String(), nil
}
