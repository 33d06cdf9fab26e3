package client_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// fakeBroker replies on the subjects of the API and the admin service as a test defines.
// The tests of cmd/lessor run the client against the real broker.
type fakeBroker struct {
	t  *testing.T
	nc *nats.Conn

	mu       sync.Mutex
	received []*nats.Msg
	answers  map[string]func(*nats.Msg, int) // by verb
}

// verbOf returns the verb of a subject, such as request or admin.put.
func verbOf(subject string) string {
	if t := strings.Split(subject, "."); t[1] == "api" {
		return t[2]
	}
	return "admin." + subject[strings.LastIndexByte(subject, '.')+1:]
}

// brokerKeys are the keys of the fake broker.
var brokerKeys = func() *messages.Keyring {
	seed, err := messages.NewKey()
	if err != nil {
		panic(err)
	}
	keys, err := messages.ParseKeyring(seed)
	if err != nil {
		panic(err)
	}
	return keys
}()

// newFake starts a NATS server and a fake broker on it.
func newFake(t *testing.T, configure func(*server.Options), as ...nats.Option) (*fakeBroker, *embedded.Server) {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Configure: configure})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	f := &fakeBroker{t: t, nc: connect(t, s, as...), answers: map[string]func(*nats.Msg, int){}}
	return f, s
}

func connect(t *testing.T, s *embedded.Server, o ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// serve starts to reply. It returns when the server has processed the subscriptions.
func (f *fakeBroker) serve() {
	f.t.Helper()
	handle := func(m *nats.Msg) {
		verb := verbOf(m.Subject)
		f.mu.Lock()
		f.received = append(f.received, m)
		n := 0
		for _, r := range f.received {
			if verbOf(r.Subject) == verb {
				n++
			}
		}
		answer := f.answers[verb]
		f.mu.Unlock()
		if answer != nil {
			answer(m, n)
		}
	}
	ns := messages.Namespace{}
	_, err := f.nc.Subscribe(ns.API(">"), handle)
	if err == nil {
		_, err = f.nc.Subscribe(ns.AdminSecret("*"), handle)
	}
	if err == nil { // not in received: a put requests the key first
		_, err = f.nc.Subscribe(ns.AdminKey(), func(m *nats.Msg) {
			f.reply(m, messages.Reply{Kind: messages.KindKey, Key: brokerKeys.PublicKeys()[0]}, "")
		})
	}
	if err == nil {
		err = f.nc.Flush()
	}
	if err != nil {
		f.t.Error(err)
	}
}

func (f *fakeBroker) messages() []*nats.Msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*nats.Msg(nil), f.received...)
}

// reply replies to m. The reply's own reply subject is confirm.
func (f *fakeBroker) reply(m *nats.Msg, r messages.Reply, confirm string) {
	data, err := r.Encode()
	if err == nil {
		err = f.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Reply: confirm, Data: data})
	}
	if err != nil {
		f.t.Error(err)
	}
}

// on sets the function that replies to messages of a verb. n counts the verb's messages,
// from 1.
func (f *fakeBroker) on(verb string, answer func(m *nats.Msg, n int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[verb] = answer
}

// always sets one reply for all messages of a verb.
func (f *fakeBroker) always(verb string, r messages.Reply) {
	f.on(verb, func(m *nats.Msg, _ int) { f.reply(m, r, "") })
}

func newClient(t *testing.T, nc *nats.Conn, o client.Options) *client.Client {
	t.Helper()
	if o.Identity == "" {
		o.Identity = "alice"
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	c, err := client.New(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var issuedAt = time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)

func lease(id string) *messages.Lease {
	return &messages.Lease{
		Name: "alice.ci." + id, Identity: "alice", Secret: "ci", ID: id, State: messages.StateActive,
		IssuedAt: issuedAt, ExpiresAt: issuedAt.Add(time.Hour), AccessKeyID: "AKIAEXAMPLE",
	}
}

func credentials() *messages.Credentials {
	return &messages.Credentials{
		AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: messages.NewSensitive("s3cret"), Username: "lessor-alice-1", Region: "eu-central-1",
	}
}

func issued() messages.Reply {
	return messages.Reply{Kind: messages.KindCredentials, Lease: lease("01"), Credentials: credentials()}
}
