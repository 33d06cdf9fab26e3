package client

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// EventFilter says which events to read. Its zero value reads all that the
// stream keeps, and ends there.
type EventFilter struct {
	Identity string // "" is everybody
	Secret   string // "" is any
	ID       string // a lease's id; "" is any
	// Types are the types to read; none is all.
	Types []messages.EventType
	// Since leaves out what was stored earlier; zero leaves out nothing.
	Since time.Time
	// Follow waits for new events at the end of the stream, until the context
	// ends.
	Follow bool
}

// Events reads the events about this client's identity; f.Identity is set to it.
// It needs rights on the event stream, which requesters in other accounts than
// the broker's don't have in general.
func (c *Client) Events(ctx context.Context, f EventFilter) iter.Seq2[messages.Event, error] {
	f.Identity = c.o.Identity
	js, err := jetstream.New(c.nc)
	if err != nil {
		return func(yield func(messages.Event, error) bool) { yield(messages.Event{}, err) }
	}
	return Events(ctx, js, c.o.Namespace, f)
}

// Events reads an installation's events in the order of the stream, through an
// ordered consumer: without acknowledgements, and without leaving anything
// behind. An error ends the loop; the context's end does so without one when the
// filter follows.
func Events(ctx context.Context, js jetstream.JetStream, ns messages.Namespace, f EventFilter) iter.Seq2[messages.Event, error] {
	return func(yield func(messages.Event, error) bool) {
		if err := f.read(ctx, js, ns, func(e messages.Event) bool { return yield(e, nil) }); err != nil {
			yield(messages.Event{}, err)
		}
	}
}

// read passes the events to handle until that returns false.
func (f EventFilter) read(ctx context.Context, js jetstream.JetStream, ns messages.Namespace, handle func(messages.Event) bool) error {
	config, err := f.consumer(ns)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, ns.EventStream(), config)
	if err != nil {
		return fmt.Errorf("read the stream %s: %w; is this the broker's account, and may the connection read it?", ns.EventStream(), err)
	}
	if !f.Follow && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	stored, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the stream %s: %w", ns.EventStream(), err)
	}
	defer stored.Stop()
	for {
		m, err := stored.Next(jetstream.NextContext(ctx))
		switch {
		case err != nil && ctx.Err() != nil && f.Follow:
			return nil
		case err != nil:
			return fmt.Errorf("read the stream %s: %w", ns.EventStream(), err)
		}
		event, err := messages.DecodeEvent(m.Data())
		if err != nil {
			return fmt.Errorf("the event on %s: %w", m.Subject(), err)
		}
		if !handle(event) {
			return nil
		}
		if f.Follow {
			continue
		}
		if at, err := m.Metadata(); err != nil || at.NumPending == 0 {
			return err
		}
	}
}

// consumer translates the filter.
func (f EventFilter) consumer(ns messages.Namespace) (jetstream.OrderedConsumerConfig, error) {
	token := func(name, value string) (string, error) {
		if value == "" {
			return "*", nil
		}
		return value, messages.CheckToken(name, value)
	}
	var l messages.LeaseName
	var identity, secret, id error
	l.Identity, identity = token("identity", f.Identity)
	l.Secret, secret = token("secret", f.Secret)
	l.ID, id = token("lease id", f.ID)
	if err := cmp.Or(identity, secret, id); err != nil {
		return jetstream.OrderedConsumerConfig{}, err
	}
	types := f.Types
	if len(types) == 0 {
		types = []messages.EventType{"*"}
	}
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	for _, t := range types {
		c.FilterSubjects = append(c.FilterSubjects, ns.Event(l, t))
	}
	if !f.Since.IsZero() {
		since := f.Since.UTC()
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return c, nil
}
