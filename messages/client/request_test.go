package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func TestRequestReturnsTheCredentials(t *testing.T) {
	f, s := newFake(t, nil)
	f.always("request", issued())
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})

	got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{TTL: messages.Duration(15 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Lease.Name != "alice.ci.01" || got.Credentials.SecretAccessKey.Reveal() != "s3cret" {
		t.Errorf("got %+v", got)
	}
	if p := fmt.Sprintf("%+v %#v", got, got); strings.Contains(p, "s3cret") {
		t.Errorf("the secret key prints: %s", p)
	}
	m := f.messages()[0]
	if m.Subject != "lessor.api.request.alice.ci" || m.Header.Get(messages.HeaderIdempotencyKey) != got.IdempotencyKey || got.IdempotencyKey == "" {
		t.Errorf("sent %s %v", m.Subject, m.Header)
	}
	r, err := messages.DecodeLeaseRequest(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(r.Deadline); left <= 0 || left > 20*time.Second {
		t.Errorf("the deadline %s is not that of the timeout", r.Deadline)
	}
}

func TestRequestIsConfirmed(t *testing.T) {
	f, s := newFake(t, nil)
	confirm := messages.Namespace{}.Confirm(messages.LeaseName{Identity: "alice", Secret: "ci", ID: "01"}, "tok")
	confirmed, err := f.nc.SubscribeSync(confirm)
	if err != nil {
		t.Fatal(err)
	}
	f.on("request", func(m *nats.Msg, _ int) { f.reply(m, issued(), confirm) })
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	if _, err := c.Request(t.Context(), "ci", messages.LeaseRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := confirmed.NextMsg(10 * time.Second); err != nil {
		t.Errorf("no confirmation: %v", err)
	}

	f.always("request", issued()) // a delivery without a reply subject
	if _, err := c.Request(t.Context(), "ci", messages.LeaseRequest{Confirm: true}); err == nil {
		t.Error("a delivery without a reply subject counts as confirmed")
	}
}

func TestSealedRequestChecksTheBox(t *testing.T) {
	key, err := messages.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := messages.ParseKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	right := messages.Contents{Lease: "alice.ci.01", Identity: "alice", ExpiresAt: lease("01").ExpiresAt, Credentials: *credentials()}
	changed := func(change func(*messages.Contents)) messages.Contents { c := right; change(&c); return c }
	for name, tt := range map[string]struct {
		contents messages.Contents
		clear    bool
		want     string // in the error
	}{
		"right":          {contents: right},
		"renewed since":  {contents: changed(func(c *messages.Contents) { c.ExpiresAt = c.ExpiresAt.Add(-time.Minute) })},
		"another lease":  {contents: changed(func(c *messages.Contents) { c.Lease = "alice.ci.02" }), want: "alice.ci.02"},
		"another's":      {contents: changed(func(c *messages.Contents) { c.Identity = "bob" }), want: "the box"},
		"ends earlier":   {contents: changed(func(c *messages.Contents) { c.ExpiresAt = c.ExpiresAt.Add(time.Second) }), want: "earlier"},
		"no credentials": {contents: changed(func(c *messages.Contents) { c.Credentials = messages.Credentials{} }), want: "no credentials"},
		"reply in clear": {clear: true, want: "not sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFake(t, nil)
			f.on("request", func(m *nats.Msg, _ int) {
				q, err := messages.DecodeLeaseRequest(m.Data)
				if err != nil {
					f.t.Error(err)
				}
				r := issued()
				if !tt.clear {
					r.Credentials = nil
					if r.Sealed, err = ring.Seal(q.XKey, tt.contents); err != nil {
						f.t.Error(err)
					}
				}
				f.reply(m, r, "")
			})
			f.serve()
			c := newClient(t, connect(t, s), client.Options{})
			got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{}, client.Sealed())
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want == "" && got.Credentials.SecretAccessKey.Reveal() != "s3cret":
				t.Errorf("got %+v", got)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q in it", err, tt.want)
			case tt.want != "" && !got.Credentials.SecretAccessKey.IsZero():
				t.Error("credentials are returned with the error")
			}
		})
	}
}

func TestRequestIsCheckedBeforeSending(t *testing.T) {
	f, s := newFake(t, nil)
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	xkey := messages.LeaseRequest{XKey: "XAB"}
	for name, call := range map[string]func() error{
		"secret": func() error { _, err := c.Request(t.Context(), "CI.>", messages.LeaseRequest{}); return err },
		"half": func() error {
			_, err := c.Request(t.Context(), "ci", messages.LeaseRequest{TTL: messages.Duration(time.Second / 2)})
			return err
		},
		"negative": func() error { _, err := c.Request(t.Context(), "ci", messages.LeaseRequest{TTL: -1}); return err },
		"xkey":     func() error { _, err := c.Request(t.Context(), "ci", xkey); return err },
		"two keys": func() error { _, err := c.Request(t.Context(), "ci", xkey, client.Sealed()); return err },
		"key": func() error {
			_, err := c.Request(t.Context(), "ci", messages.LeaseRequest{}, client.IdempotencyKey("a\nb"))
			return err
		},
		"lease":     func() error { _, err := c.Get(t.Context(), "alice.ci"); return err },
		"another's": func() error { _, err := c.Revoke(t.Context(), "bob.ci.01", ""); return err },
		"reason":    func() error { _, err := c.Revoke(t.Context(), "alice.ci.01", strings.Repeat("x", 300)); return err },
		"limit":     func() error { _, err := c.List(t.Context(), messages.ListRequest{Limit: 501}); return err },
	} {
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if m := f.messages(); len(m) != 0 {
		t.Errorf("%d messages were sent", len(m))
	}
	for _, identity := range []string{"", "Alice", "a.b", "*"} {
		if _, err := client.New(f.nc, client.Options{Identity: identity}); err == nil {
			t.Errorf("identity %q is accepted", identity)
		}
	}
}

func TestErrorReplies(t *testing.T) {
	f, s := newFake(t, nil)
	f.always("request", messages.ErrorReply(messages.Errorf(messages.CodeAlreadyDelivered, "delivered before"), lease("01")))
	f.on("get", func(m *nats.Msg, _ int) {
		if err := f.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{messages.HeaderError: {"timeout"}, messages.HeaderErrorCode: {"503"}}}); err != nil {
			f.t.Error(err)
		}
	})
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{})
	if !messages.IsCode(err, messages.CodeAlreadyDelivered) || got.Lease.Name != "alice.ci.01" {
		t.Errorf("%+v, %v", got.Lease, err)
	}
	if _, err := c.Get(t.Context(), "alice.ci.01"); !messages.IsCode(err, messages.CodeUnavailable) {
		t.Errorf("an error in the headers only: %v", err)
	}
}

func TestNoResponders(t *testing.T) {
	f, s := newFake(t, nil)
	nc := connect(t, s)
	_, err := newClient(t, nc, client.Options{NoResponderWait: -1}).Request(t.Context(), "ci", messages.LeaseRequest{})
	if !errors.Is(err, nats.ErrNoResponders) || !strings.Contains(err.Error(), "lessor.api.request.alice.ci") {
		t.Errorf("error %v", err)
	}

	// The client continues until a broker starts.
	f.always("request", issued())
	done := make(chan error, 1)
	go func() {
		_, err := newClient(t, nc, client.Options{NoResponderWait: time.Minute}).Request(t.Context(), "ci", messages.LeaseRequest{})
		done <- err
	}()
	f.serve()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRequestWithoutReplyIsSentAgain(t *testing.T) {
	f, s := newFake(t, nil)
	already := messages.ErrorReply(messages.Errorf(messages.CodeAlreadyDelivered, "delivered before"), lease("01"))
	var first *nats.Msg
	f.on("request", func(m *nats.Msg, n int) {
		switch n {
		case 1:
			first = m // its reply is late
		case 2: // and arrives after the reply to the second message
			f.reply(m, already, "")
			f.reply(first, issued(), "")
		}
	})
	f.serve()
	c := newClient(t, connect(t, s), client.Options{Resend: 50 * time.Millisecond})
	got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{})
	if err != nil || got.Credentials.AccessKeyID == "" {
		t.Fatalf("%+v, %v", got.Lease, err)
	}
	m := f.messages()
	if m[0].Reply != m[1].Reply || m[0].Header.Get(messages.HeaderIdempotencyKey) != m[1].Header.Get(messages.HeaderIdempotencyKey) || string(m[0].Data) != string(m[1].Data) {
		t.Errorf("the second message differs: %v, %v", m[0], m[1])
	}
}

func TestRequestTimesOutWithItsIdempotencyKey(t *testing.T) {
	f, s := newFake(t, nil)
	f.serve()
	c := newClient(t, connect(t, s), client.Options{Timeout: 50 * time.Millisecond})
	_, err := c.Request(t.Context(), "ci", messages.LeaseRequest{}, client.IdempotencyKey("job-7"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "job-7") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.on("get", func(*nats.Msg, int) { cancel() })
	if _, err := newClient(t, connect(t, s), client.Options{}).Get(ctx, "alice.ci.01"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestReplyForAnotherSecretIsRefused(t *testing.T) {
	f, s := newFake(t, nil)
	r := issued()
	r.Lease.Secret, r.Lease.Name = "prod", "alice.prod.01"
	f.always("request", r)
	f.always("get", messages.Reply{Kind: messages.KindRevoked, Lease: lease("01")})
	f.serve()
	c := newClient(t, connect(t, s), client.Options{})
	if got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{}); err == nil || !got.Credentials.SecretAccessKey.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Get(t.Context(), "alice.ci.01"); err == nil {
		t.Error("a reply of another kind is accepted")
	}
}

func TestPermissionViolationIsReported(t *testing.T) {
	may := func(publish, subscribe string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{publish}}, Subscribe: &server.SubjectPermission{Allow: []string{subscribe}}}
	}
	f, s := newFake(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "broker", Password: "p"},
			{Username: "alice", Password: "p", Permissions: may("lessor.api.*.alice.>", "_INBOX_alice.>")},
		}
	}, nats.UserInfo("broker", "p"))
	f.always("request", issued())
	f.serve()
	own := nats.CustomInboxPrefix("_INBOX_alice")
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

	nc := connect(t, s, nats.UserInfo("alice", "p"), own, quiet)
	if _, err := newClient(t, nc, client.Options{}).Request(t.Context(), "ci", messages.LeaseRequest{}); err != nil {
		t.Error(err)
	}
	_, err := newClient(t, nc, client.Options{Identity: "bob"}).Request(t.Context(), "ci", messages.LeaseRequest{})
	if !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a request as bob: %v", err)
	}
	nc = connect(t, s, nats.UserInfo("alice", "p"), quiet)
	_, err = newClient(t, nc, client.Options{}).Request(t.Context(), "ci", messages.LeaseRequest{})
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "_INBOX_alice") {
		t.Errorf("an inbox that is not alice's: %v", err)
	}
	if m := f.messages(); len(m) != 1 {
		t.Errorf("%d requests arrived, want only the first", len(m))
	}
}
