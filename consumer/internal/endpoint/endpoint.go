// Package endpoint is what the endpoints of the API and of the admin service have in
// common: [Serve] offers them as a NATS micro service, a [Group] runs their requests and
// lets a stop wait for them, and [Answer] publishes what comes of one.
package endpoint

import (
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

// version is that of the services' contract.
const version = "1.0.0"

// Endpoint is one endpoint of a service. Handle must not block: the requests of a
// service are received one after the other.
type Endpoint struct {
	Name, Subject string
	Handle        func(micro.Request)
}

// Serve offers the endpoints as a NATS micro service. It returns either the service,
// which is the caller's to stop, or an error.
func Serve(nc *nats.Conn, name, description string, endpoints []Endpoint) (micro.Service, error) {
	svc, err := micro.AddService(nc, micro.Config{Name: name, Version: version, Description: description})
	if err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		if err := svc.AddEndpoint(e.Name, micro.HandlerFunc(e.Handle), micro.WithEndpointSubject(e.Subject)); err != nil {
			_ = svc.Stop() // its subscriptions end with the connection anyway
			return nil, err
		}
	}
	return svc, nil
}

// ErrStopping refuses requests while the broker is being stopped.
var ErrStopping = messages.Errorf(messages.CodeUnavailable, "this broker is being stopped; try again")

// errTooLarge is the answer in place of one that NATS does not take.
var errTooLarge = messages.Errorf(messages.CodeTooLarge, "the answer is larger than a NATS message may be; ask for less")

// Answer publishes the answer to a request. An answer that is larger than a NATS message
// may be is replaced by an error that says so.
func Answer(replier queue.Replier, subject string, reply messages.Reply) error {
	err := replier.Reply(subject, reply)
	if errors.Is(err, nats.ErrMaxPayload) {
		err = replier.Reply(subject, messages.ErrorReply(errTooLarge, nil))
	}
	return err
}

// Group runs requests concurrently until it is drained. The zero value is ready.
type Group struct {
	mu      sync.Mutex
	drained bool
	running sync.WaitGroup
}

// Go runs f on a goroutine of its own. It returns false if the group is drained, and f
// is not run.
func (g *Group) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained {
		return false
	}
	g.running.Go(f)
	return true
}

// Drain makes Go refuse further requests, and waits for those that run.
func (g *Group) Drain() {
	g.mu.Lock()
	g.drained = true
	g.mu.Unlock()
	g.running.Wait()
}
