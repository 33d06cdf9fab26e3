package client_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func TestRenewRevokeAndGet(t *testing.T) {
	f, s := newFake(t, nil)
	f.always("renew", messages.Reply{Kind: messages.KindRenewed, Lease: lease("01")})
	f.always("revoke", messages.Reply{Kind: messages.KindRevoked, Lease: lease("01")})
	f.always("get", messages.Reply{Kind: messages.KindLease, Lease: lease("01")})
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	calls := []struct {
		call          func() (messages.Lease, error)
		subject, body string
	}{
		{func() (messages.Lease, error) {
			return c.Renew(t.Context(), "alice.ci.01", messages.RenewRequest{TTL: messages.Duration(time.Hour), Clamp: true})
		}, "lessor.api.renew.alice.ci.01", `{"ttl":"1h","clamp":true}`},
		{func() (messages.Lease, error) { return c.Revoke(t.Context(), "alice.ci.01", "done") }, "lessor.api.revoke.alice.ci.01", `{"reason":"done"}`},
		{func() (messages.Lease, error) { return c.Get(t.Context(), "alice.ci.01") }, "lessor.api.get.alice.ci.01", ""},
	}
	for i, tt := range calls {
		l, err := tt.call()
		if err != nil || l.Name != "alice.ci.01" {
			t.Errorf("%s: %+v, %v", tt.subject, l, err)
		}
		if m := f.messages()[i]; m.Subject != tt.subject || string(m.Data) != tt.body {
			t.Errorf("sent %s %s, want %s %s", m.Subject, m.Data, tt.subject, tt.body)
		}
	}
}

func TestLeasesReadsAllPages(t *testing.T) {
	f, s := newFake(t, nil)
	f.on("list", func(m *nats.Msg, n int) {
		r := messages.Reply{Kind: messages.KindLeases}
		for i := range 2 {
			r.Leases = append(r.Leases, *lease(fmt.Sprintf("%d%d", n, i)))
		}
		switch n {
		case 1, 2:
			r.Next = r.Leases[1].Name
		case 5: // its own next page
			r.Next = "alice.ci.41"
		case 4:
			r.Next = "alice.ci.41"
		}
		f.reply(m, r, "")
	})
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	var ids []string
	for l, err := range c.Leases(t.Context(), messages.ListRequest{State: messages.StateActive, Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.ID)
	}
	if want := []string{"10", "11", "20", "21", "30", "31"}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
	if got := string(f.messages()[2].Data); got != `{"state":"active","limit":2,"after":"alice.ci.21"}` {
		t.Errorf("the third page is requested with %s", got)
	}
	var last error
	for _, err := range c.Leases(t.Context(), messages.ListRequest{}) {
		last = err
	}
	if last == nil || len(f.messages()) != 5 {
		t.Errorf("a page that is its own next page: %v after %d messages", last, len(f.messages()))
	}
}

func TestEventsFiltersAndFollows(t *testing.T) {
	_, s := newFake(t, nil)
	nc := connect(t, s)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ns := messages.Namespace{}
	c := newClient(t, nc, client.Options{})
	for _, err := range c.Events(t.Context(), client.EventFilter{}) {
		if err == nil {
			t.Error("an event without a stream")
		}
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: ns.EventStream(), Subjects: []string{ns.EventFilter()}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	for range c.Events(t.Context(), client.EventFilter{}) {
		t.Error("the stream is empty")
	}
	emit := func(identity string, kind messages.EventType) {
		l := messages.LeaseName{Identity: identity, Secret: "ci", ID: "01"}
		data, err := json.Marshal(messages.NewEvent("here", l, kind, "1", issuedAt, messages.EventData{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), ns.Event(l, kind), data); err != nil {
			t.Fatal(err)
		}
	}
	emit("alice", messages.EventIssued)
	emit("bob", messages.EventIssued)
	emit("alice", messages.EventRenewed)
	emit("alice", messages.EventRevoked)

	var got []string
	collect := func(e messages.Event, err error) {
		if err != nil {
			t.Error(err)
		}
		got = append(got, e.Subject+" "+e.Type)
	}
	for e, err := range c.Events(t.Context(), client.EventFilter{Types: []messages.EventType{messages.EventIssued, messages.EventRevoked}}) {
		collect(e, err)
	}
	if want := []string{"alice.ci.01 lessor.lease.issued", "alice.ci.01 lessor.lease.revoked"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range c.Events(t.Context(), client.EventFilter{Since: time.Now().Add(time.Hour)}) {
		t.Error("an event from the future")
	}

	got = nil
	for e, err := range client.Events(t.Context(), js, ns, client.EventFilter{Follow: true}) {
		collect(e, err)
		if len(got) == 4 {
			emit("bob", messages.EventRevoked)
		}
		if len(got) == 5 {
			break
		}
	}
	if last := got[len(got)-1]; last != "bob.ci.01 lessor.lease.revoked" {
		t.Errorf("followed to %s", last)
	}
}
