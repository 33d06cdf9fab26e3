package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// accounts has an account for alice, which imports the broker's service for her identity
// only.
const accounts = `
accounts {
  BROKER {
    users: [{user: broker, password: p}]
    exports: [{service: "lessor.api.>"}]
  }
  ALICE {
    users: [{user: alice, password: p, permissions: {
      publish: ["lessor.api.*.alice", "lessor.api.*.alice.>"], subscribe: "_INBOX_alice.>", allow_responses: true
    }}]
    imports: [
      {service: {account: BROKER, subject: "lessor.api.list.alice"}}
      {service: {account: BROKER, subject: "lessor.api.*.alice.>"}}
    ]
  }
}`

func TestClientInAnotherAccount(t *testing.T) {
	f, s := newFake(t, func(o *server.Options) {
		if err := o.ProcessConfigString(accounts); err != nil {
			t.Error(err)
		}
	}, nats.UserInfo("broker", "p"))
	confirm := messages.Namespace{}.Confirm(messages.LeaseName{Identity: "alice", Secret: "ci", ID: "01"}, "tok")
	confirmed, err := f.nc.SubscribeSync("lessor.confirm.>")
	if err != nil {
		t.Fatal(err)
	}
	f.on("request", func(m *nats.Msg, _ int) { f.reply(m, issued(), confirm) })
	f.always("list", messages.Reply{Kind: messages.KindLeases, Leases: []messages.Lease{*lease("01")}})
	f.always("revoke", messages.Reply{Kind: messages.KindRevoked, Lease: lease("01")})
	f.serve()

	c := newClient(t, connect(t, s, nats.UserInfo("alice", "p"), nats.CustomInboxPrefix("_INBOX_alice")), client.Options{})
	got, err := c.Request(t.Context(), "ci", messages.LeaseRequest{Confirm: true})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := confirmed.NextMsg(10 * time.Second); err != nil || m.Subject != confirm {
		t.Errorf("confirmation: %v, %v", m, err)
	}
	if reply := f.messages()[0].Reply; !strings.HasPrefix(reply, "_R_.") {
		t.Errorf("the broker sees the reply subject %s", reply)
	}
	if page, err := c.List(t.Context(), messages.ListRequest{}); err != nil || len(page.Leases) != 1 {
		t.Errorf("list: %v, %v", page, err)
	}
	if _, err := c.Revoke(t.Context(), got.Lease.Name, ""); err != nil {
		t.Error(err)
	}
}

func TestRequestSurvivesAServerRestart(t *testing.T) {
	first, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	patient := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond)}
	dial := func() *nats.Conn {
		nc, err := nats.Connect(first.URL(), patient...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	f := &fakeBroker{t: t, nc: dial(), answers: map[string]func(*nats.Msg, int){}}
	received := make(chan struct{})
	f.on("request", func(m *nats.Msg, n int) {
		if n == 1 {
			close(received) // the reply is lost with the server
			return
		}
		f.reply(m, issued(), "")
	})
	f.serve()
	done := make(chan error, 1)
	go func() {
		_, err := newClient(t, dial(), client.Options{Resend: 50 * time.Millisecond, NoResponderWait: time.Minute}).Request(t.Context(), "ci", messages.LeaseRequest{})
		done <- err
	}()
	<-received
	first.Close()
	second, err := embedded.Start(embedded.Options{Listen: strings.TrimPrefix(first.URL(), "nats://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClosedConnectionIsAnError(t *testing.T) {
	_, s := newFake(t, nil)
	nc := connect(t, s)
	nc.Close()
	if _, err := newClient(t, nc, client.Options{}).Get(t.Context(), "alice.ci.01"); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error %v", err)
	}
}
