package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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

// Events reads an installation's events in the order of the stream. It asks for them
// ("direct get") instead of having a consumer deliver them: that is a right to read
// and nothing else, and works where the stream is another account's, which exports
//
//	$JS.API.DIRECT.GET.LESSOR_EVENT
//
// as a service with several responses. An error ends the loop; the context's end does
// so without one when the filter follows.
func Events(ctx context.Context, js jetstream.JetStream, ns messages.Namespace, f EventFilter) iter.Seq2[messages.Event, error] {
	return func(yield func(messages.Event, error) bool) {
		if err := f.read(ctx, js, ns, func(e messages.Event) bool { return yield(e, nil) }); err != nil {
			yield(messages.Event{}, err)
		}
	}
}

// How the stream is asked.
const (
	eventsAtOnce = 256
	// eventsEvery is the wait before it is asked again by who has read all.
	eventsEvery = 250 * time.Millisecond
	// eventsSilence is how long an answer may take where the context has no deadline.
	eventsSilence = 10 * time.Second
)

// read passes the events to handle until that returns false.
func (f EventFilter) read(ctx context.Context, js jetstream.JetStream, ns messages.Namespace, handle func(messages.Event) bool) error {
	subject, err := f.subject(ns)
	if err != nil {
		return err
	}
	r := newEventReader(js, ns, subject, func(e storedEvent) (bool, error) {
		if !f.wants(e.subject) {
			return true, nil
		}
		event, err := messages.DecodeEvent(e.data)
		if err != nil {
			return false, fmt.Errorf("the event on %s: %w", e.subject, err)
		}
		return handle(event), nil
	})
	r.since = f.Since
	for {
		more, err := r.page(ctx)
		switch {
		case ctx.Err() != nil && f.Follow:
			return nil
		case err != nil:
			return fmt.Errorf("read the stream %s: %w", ns.EventStream(), err)
		case r.enough || !more && !f.Follow:
			return nil
		case !more:
			_ = sleep(ctx, eventsEvery) // ctx is looked at with the next page
		}
	}
}

// subject is the filter's, as far as NATS can filter.
func (f EventFilter) subject(ns messages.Namespace) (string, error) {
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
		return "", err
	}
	if len(f.Types) == 1 {
		return ns.Event(l, f.Types[0]), nil
	}
	return ns.Event(l, "*"), nil
}

// wants says whether an event is of a type that is asked for.
func (f EventFilter) wants(subject string) bool {
	t := messages.EventType(subject[strings.LastIndexByte(subject, '.')+1:])
	return len(f.Types) == 0 || slices.Contains(f.Types, t)
}

// storedEvent is an event as it stands in the stream.
type storedEvent struct {
	seq     uint64
	at      time.Time
	subject string
	header  nats.Header
	data    []byte
}

// eventReader reads a stream page by page.
type eventReader struct {
	nc            *nats.Conn
	from, subject string
	since         time.Time // zero: from the beginning
	last          uint64    // sequence of what was read
	handle        func(storedEvent) (more bool, err error)
	enough        bool // handle wants no more
}

func newEventReader(js jetstream.JetStream, ns messages.Namespace, subject string, handle func(storedEvent) (bool, error)) *eventReader {
	api := cmp.Or(js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
	if domain := js.Options().Domain; domain != "" {
		api = "$JS." + domain + ".API."
	}
	return &eventReader{nc: js.Conn(), from: strings.TrimSuffix(api, ".") + ".DIRECT.GET." + ns.EventStream(), subject: subject, handle: handle}
}

// page reads what comes next, and says whether there is more.
func (r *eventReader) page(ctx context.Context) (more bool, err error) {
	inbox, err := r.nc.SubscribeSync(r.nc.NewInbox())
	if err != nil {
		return false, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // a connection that is gone has none
	body, err := r.question()
	if err != nil {
		return false, err
	}
	before := r.nc.LastError()
	if err := r.nc.PublishRequest(r.from, inbox.Subject, body); err != nil {
		return false, err
	}
	for {
		m, err := r.next(ctx, inbox, before)
		if err != nil {
			return false, err
		}
		if added(m.Header, jetstream.SequenceHeader) != "" { // an event, whatever other headers it was stored with
			if err := r.take(m); err != nil || r.enough {
				return false, err
			}
			continue
		}
		switch status := m.Header.Get("Status"); status {
		case "204": // the page's end
			return m.Header.Get("Nats-Num-Pending") != "0", nil
		case "404":
			return false, nil // nothing is left
		default:
			return false, fmt.Errorf("NATS answers %s %s", status, m.Header.Get("Description"))
		}
	}
}

// question asks for a page.
func (r *eventReader) question() ([]byte, error) {
	q := struct {
		Batch   int        `json:"batch"`
		Subject string     `json:"next_by_subj"`
		Seq     uint64     `json:"seq,omitempty"`
		Since   *time.Time `json:"start_time,omitempty"`
	}{Batch: eventsAtOnce, Subject: r.subject, Seq: r.last + 1}
	if r.last == 0 && !r.since.IsZero() {
		since := r.since.UTC()
		q.Seq, q.Since = 0, &since
	}
	return json.Marshal(q)
}

// next is the next message of a page. That NATS does not allow the question it tells
// the connection alone.
func (r *eventReader) next(ctx context.Context, inbox *nats.Subscription, before error) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, eventsSilence)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, eventsEvery)
		m, err := inbox.NextMsgWithContext(once)
		stop()
		denied := r.nc.LastError()
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fmt.Errorf("%w; is this the broker's account, or is its stream imported into this one?", err)
		case errors.Is(denied, nats.ErrPermissionViolation) && denied != before:
			return nil, fmt.Errorf("%w; may this connection read it, and has it its own inbox prefix?", denied)
		case ctx.Err() != nil, !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
}

// take passes an event on.
func (r *eventReader) take(m *nats.Msg) error {
	place := added(m.Header, jetstream.SequenceHeader)
	seq, err := strconv.ParseUint(place, 10, 64)
	if err != nil || seq <= r.last {
		return fmt.Errorf("NATS answers with message %q after %d", place, r.last)
	}
	r.last = seq
	at, err := time.Parse(time.RFC3339Nano, added(m.Header, jetstream.TimeStampHeaer))
	if err != nil {
		return fmt.Errorf("NATS answers with message %d of no time", seq)
	}
	more, err := r.handle(storedEvent{seq: seq, at: at, subject: added(m.Header, jetstream.SubjectHeader), header: m.Header, data: m.Data})
	r.enough = !more
	return err
}

// added is a header as the server has added it: behind those with which whoever
// published the message may have had it stored.
func added(h nats.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
