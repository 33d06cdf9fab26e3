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

// Readiness is the readiness of a broker, from before it is started. It is safe for
// concurrent use.
type Readiness struct {
	mu     sync.Mutex
	broker *Broker // nil until Up
	why    error   // what the start is waiting for
}

// NewReadiness returns the readiness of a broker that is not started.
func NewReadiness() *Readiness { return &Readiness{why: errors.New("starting")} }

// Waiting records what the start is waiting for.
func (r *Readiness) Waiting(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = fmt.Errorf("starting: %w", why)
}

// Up records that the broker is started.
func (r *Readiness) Up(b *Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broker = b
}

// ready returns an error if the broker is not ready. If it is, and the restore guard is
// active, it returns why that is.
func (r *Readiness) ready(ctx context.Context) (guarded string, err error) {
	r.mu.Lock()
	b, why := r.broker, r.why
	r.mu.Unlock()
	if b == nil {
		return "", why
	}
	if err := b.Ready(ctx); err != nil {
		return "", err
	}
	if guarded, err = b.Held(ctx); err != nil {
		return "", nil // the broker works all the same
	}
	return guarded, nil
}

// ReadyTimeout bounds one readiness check.
const ReadyTimeout = 3 * time.Second

// ServeHealth serves /healthz, /readyz and /metrics on addr and returns the address.
// /healthz is 200 as long as the process runs. /readyz is 200 if the broker is ready, and
// otherwise 503 with what is wrong. stop ends the server.
func ServeHealth(addr string, state *Readiness, metrics http.Handler) (stop func(), at string, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("--health: %w; choose another address", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), ReadyTimeout)
		defer cancel()
		guarded, err := state.ready(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok") // an error means that the client has gone
		// A broker whose restore guard is active is ready: it serves new requests.
		if guarded != "" {
			_, _ = fmt.Fprintf(w, "held: %s; see \"lessor restore\"\n", guarded)
		}
	})
	mux.Handle("GET /metrics", metrics)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: ReadyTimeout}
	go func() { _ = s.Serve(l) }() // ends with Close
	return func() { _ = s.Close() }, l.Addr().String(), nil
}
