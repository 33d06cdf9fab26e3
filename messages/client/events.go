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

// EventFilter selects events. Its zero value selects all events in the stream.
type EventFilter struct {
	Identity string // "" is any
	Secret   string // "" is any
	ID       string // id of a lease; "" is any
	// Types are the types of the events. An empty list selects all types.
	Types []messages.EventType
	// Since excludes events that were stored before it.
	Since time.Time
	// Follow waits for new events at the end of the stream, until the context ends.
	Follow bool
}

// Events returns an iterator over the events about the client's identity; it ignores
// f.Identity. It needs permissions for the event stream, which requesters in other
// accounts than the broker's usually do not have.
func (c *Client) Events(ctx context.Context, f EventFilter) iter.Seq2[messages.Event, error] {
	f.Identity = c.o.Identity
	js, err := jetstream.New(c.nc)
	if err != nil {
		return func(yield func(messages.Event, error) bool) { yield(messages.Event{}, err) }
	}
	return Events(ctx, js, c.o.Namespace, f)
}

// Events returns an iterator over an installation's events, in the order of the stream.
// It reads them with direct get instead of a consumer. That needs only the permission to
// read, and works for the stream of another account that exports
//
//	$JS.API.DIRECT.GET.LESSOR_EVENT
//
// as a service with several responses. An error ends the iteration. With f.Follow, the
// end of the context ends it without an error.
func Events(ctx context.Context, js jetstream.JetStream, ns messages.Namespace, f EventFilter) iter.Seq2[messages.Event, error] {
	return func(yield func(messages.Event, error) bool) {
		if err := f.read(ctx, js, ns, func(e messages.Event) bool { return yield(e, nil) }); err != nil {
			yield(messages.Event{}, err)
		}
	}
}

const (
	// eventsBatch is the number of events in a page.
	eventsBatch = 256
	// eventsPause is the wait at the end of the stream before the next page is read.
	eventsPause = 250 * time.Millisecond
	// eventsTimeout is how long one message of a page may take.
	eventsTimeout = 10 * time.Second
)

// read passes the selected events to handle until it returns false.
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
		case r.stopped || !more && !f.Follow:
			return nil
		case !more:
			_ = sleep(ctx, eventsPause) // the next page returns the error of ctx
		}
	}
}

// subject returns the subject filter, as far as NATS can filter.
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

// wants reports whether the event on a subject is of a selected type.
func (f EventFilter) wants(subject string) bool {
	t := messages.EventType(subject[strings.LastIndexByte(subject, '.')+1:])
	return len(f.Types) == 0 || slices.Contains(f.Types, t)
}

// storedEvent is a message of the event stream.
type storedEvent struct {
	seq     uint64
	at      time.Time
	subject string
	header  nats.Header
	data    []byte
}

// eventReader reads the event stream page by page.
type eventReader struct {
	nc      *nats.Conn
	api     string    // subject of direct get
	subject string    // filter
	since   time.Time // zero: from the beginning
	last    uint64    // sequence of the last event
	handle  func(storedEvent) (more bool, err error)
	stopped bool // handle returned false
}

func newEventReader(js jetstream.JetStream, ns messages.Namespace, subject string, handle func(storedEvent) (bool, error)) *eventReader {
	prefix := cmp.Or(js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
	if domain := js.Options().Domain; domain != "" {
		prefix = "$JS." + domain + ".API."
	}
	return &eventReader{nc: js.Conn(), api: strings.TrimSuffix(prefix, ".") + ".DIRECT.GET." + ns.EventStream(), subject: subject, handle: handle}
}

// page reads the next page and reports whether there are more events.
func (r *eventReader) page(ctx context.Context) (more bool, err error) {
	inbox, err := r.nc.SubscribeSync(r.nc.NewInbox())
	if err != nil {
		return false, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // fails only on a closed connection
	body, err := r.pageRequest()
	if err != nil {
		return false, err
	}
	before := r.nc.LastError()
	if err := r.nc.PublishRequest(r.api, inbox.Subject, body); err != nil {
		return false, err
	}
	for {
		m, err := r.next(ctx, inbox, before)
		if err != nil {
			return false, err
		}
		if serverHeader(m.Header, jetstream.SequenceHeader) != "" { // an event; its stored headers may include Status
			if err := r.take(m); err != nil || r.stopped {
				return false, err
			}
			continue
		}
		switch status := m.Header.Get("Status"); status {
		case "204": // end of the page
			return m.Header.Get("Nats-Num-Pending") != "0", nil
		case "404": // no more events
			return false, nil
		default:
			return false, fmt.Errorf("NATS replied %s %s", status, m.Header.Get("Description"))
		}
	}
}

// pageRequest returns the body of the direct get for the next page.
func (r *eventReader) pageRequest() ([]byte, error) {
	get := struct {
		Batch   int        `json:"batch"`
		Subject string     `json:"next_by_subj"`
		Seq     uint64     `json:"seq,omitempty"`
		Since   *time.Time `json:"start_time,omitempty"`
	}{Batch: eventsBatch, Subject: r.subject, Seq: r.last + 1}
	if r.last == 0 && !r.since.IsZero() {
		since := r.since.UTC()
		get.Seq, get.Since = 0, &since
	}
	return json.Marshal(get)
}

// next returns the next message of a page. NATS reports a permission violation to the
// connection only; before is the connection's last error from before the request.
func (r *eventReader) next(ctx context.Context, inbox *nats.Subscription, before error) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, eventsPause)
		m, err := inbox.NextMsgWithContext(once)
		stop()
		denied := r.nc.LastError()
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fmt.Errorf("%w; is this the broker's account, or is its stream imported into this one?", err)
		case errors.Is(denied, nats.ErrPermissionViolation) && denied != before:
			return nil, fmt.Errorf("%w; may this connection read the stream, and does it have the right inbox prefix?", denied)
		case ctx.Err() != nil, !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
}

// take passes an event to handle.
func (r *eventReader) take(m *nats.Msg) error {
	text := serverHeader(m.Header, jetstream.SequenceHeader)
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seq <= r.last {
		return fmt.Errorf("NATS replied with sequence %q after %d", text, r.last)
	}
	r.last = seq
	at, err := time.Parse(time.RFC3339Nano, serverHeader(m.Header, jetstream.TimeStampHeaer))
	if err != nil {
		return fmt.Errorf("NATS replied with sequence %d without a time", seq)
	}
	more, err := r.handle(storedEvent{seq: seq, at: at, subject: serverHeader(m.Header, jetstream.SubjectHeader), header: m.Header, data: m.Data})
	r.stopped = !more
	return err
}

// serverHeader returns the value of a header that the server added. It comes after values
// of the same header that the publisher stored.
func serverHeader(h nats.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
