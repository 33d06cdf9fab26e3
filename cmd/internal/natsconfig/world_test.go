//go:build unix

package natsconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// identitiesFile is the shipped list of identities.
const identitiesFile = "../../../deploy/nats/identities.yaml"

// shippedConfigs are the folders of the shipped configurations.
var shippedConfigs = map[natsSetup]string{staticUsers: "../../../deploy/nats/static", jwtUsers: "../../../deploy/nats/jwt"}

// natsSetup is a way to configure the users of a NATS server.
type natsSetup string

const (
	staticUsers natsSetup = "static users"
	jwtUsers    natsSetup = "JWT users"
	// oneAccount has the same users with the same permissions in the brokers' account,
	// where a requester may also publish its requests to the stream.
	oneAccount natsSetup = "one account, with permissions"
	// openAccount has all users in the brokers' account, without permissions.
	openAccount natsSetup = "one account, without permissions"
)

// testWorld is a NATS server with the configuration of the shipped list, a broker, and a
// simulated AWS account.
type testWorld struct {
	t      *testing.T
	setup  natsSetup
	dir    string // of the configuration
	server *embedded.Server
	sim    *iamsim.Sim
	aws    *iamsim.Server
	config consumer.Config // of the broker
	broker *broker.Broker
	conn   *nats.Conn // the broker's
	ns     messages.Namespace
	ahead  atomic.Int64 // how far the broker's clock is ahead

	mu         sync.Mutex
	violations []string // permission errors of the broker's connections
}

// natsWitness is a user in the brokers' account with every permission.
const natsWitness = "witness"

func newTestWorld(t *testing.T, setup natsSetup, change ...func(*server.Options)) *testWorld {
	t.Helper()
	w := &testWorld{t: t, setup: setup, dir: t.TempDir(), sim: iamsim.New(iamsim.Options{})}
	var err error
	w.aws, err = w.sim.Start()
	w.ok(err)
	t.Cleanup(func() { _ = w.aws.Close() }) // the account goes with the test
	w.configure()
	w.server, err = embedded.Start(embedded.Options{Listen: "127.0.0.1:0", Configure: func(o *server.Options) {
		w.serverOptions(o)
		for _, f := range change {
			f(o)
		}
	}})
	w.ok(err)
	t.Cleanup(w.server.Close)
	return w
}

func (w *testWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// configure makes the configuration.
func (w *testWorld) configure() {
	w.t.Helper()
	switch w.setup {
	case staticUsers:
		w.ok(WriteStatic(w.dir, w.accounts()))
	case jwtUsers:
		w.ok(WriteJWT(w.dir, w.accounts()))
	case oneAccount:
		w.ok(WriteStatic(w.dir, w.inOneAccount()))
		return
	case openAccount:
		return
	}
	// The shipped files are loaded, with the keys of this folder.
	shipped, err := filepath.Glob(filepath.Join(shippedConfigs[w.setup], "*.conf"))
	w.ok(err)
	for _, file := range shipped {
		text, err := os.ReadFile(file)
		w.ok(err)
		w.ok(os.WriteFile(filepath.Join(w.dir, filepath.Base(file)), text, 0o600))
	}
}

// accounts returns the accounts of the shipped list.
func (w *testWorld) accounts() []Account {
	w.t.Helper()
	accounts, err := w.identities().Accounts()
	w.ok(err)
	return accounts
}

func (w *testWorld) identities() Identities {
	w.t.Helper()
	data, err := os.ReadFile(identitiesFile)
	w.ok(err)
	p, err := ParseIdentities(data)
	w.ok(err)
	return p
}

// inOneAccount returns the users of the shipped list in one account.
func (w *testWorld) inOneAccount() []Account {
	w.t.Helper()
	p, accounts := w.identities(), w.accounts()
	may := map[string]func(string) Permissions{}
	one := Account{name: brokerAccount, role: "all", jetStream: true}
	for _, a := range accounts[:len(accounts)-1] {
		for _, user := range a.users {
			one.users = append(one.users, user)
			may[user] = a.may
		}
	}
	one.may = func(user string) Permissions {
		m := may[user](user)
		for _, secret := range p.Requesters[user] { // the way that bypasses the API
			m.publish = append(m.publish, w.ns.Request(user, secret))
		}
		if user == p.Brokers[0] {
			m.publish = append(m.publish, "_INBOX.>", "_INBOX_alice.>", "_INBOX_bob.>", "_INBOX_deploy-bot.>", "_INBOX_olga.>", "_INBOX_kim.>", "_INBOX_audrey.>")
		}
		return m
	}
	return []Account{one, accounts[len(accounts)-1]}
}

// serverOptions loads the configuration into the embedded server.
func (w *testWorld) serverOptions(o *server.Options) {
	dir := o.StoreDir
	if w.setup != openAccount {
		w.ok(o.ProcessConfigFile(filepath.Join(w.dir, ConfFile)))
	}
	o.JetStream, o.StoreDir, o.Host, o.Port = true, dir, "127.0.0.1", server.RANDOM_PORT
	for _, a := range o.Accounts {
		if a.Name == brokerAccount {
			o.Users = append(o.Users,
				&server.User{Username: natsWitness, Password: natsWitness, Account: a},
				&server.User{Username: "worker", Password: natsWitness, Account: a, Permissions: permissions(workerPermissions(w.ns, "worker"))},
				&server.User{Username: "scheduler", Password: natsWitness, Account: a, Permissions: permissions(schedulerPermissions(w.ns, "scheduler"))})
		}
	}
}

func permissions(p Permissions) *server.Permissions {
	return &server.Permissions{Publish: &server.SubjectPermission{Allow: p.publish}, Subscribe: &server.SubjectPermission{Allow: p.subscribe}}
}

// as returns the connection options of a user.
func (w *testWorld) as(role, user string) []nats.Option {
	w.t.Helper()
	own := nats.CustomInboxPrefix("_INBOX_" + user)
	switch {
	case w.setup == openAccount:
		return nil
	case user == natsWitness:
		return []nats.Option{nats.UserInfo(natsWitness, natsWitness)}
	case w.setup == jwtUsers:
		return []nats.Option{own, nats.UserCredentials(filepath.Join(w.dir, "creds", userKey(role, user)+".creds"))}
	case w.setup == oneAccount:
		role = "all"
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(w.dir, "keys", userKey(role, user)+seedSuffix))
	w.ok(err)
	return []nats.Option{own, key}
}

// connect connects as a user. Permission errors do not fail the test.
func (w *testWorld) connect(role, user string, options ...nats.Option) *nats.Conn {
	w.t.Helper()
	options = append(append(w.as(role, user), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), options...)
	nc, err := nats.Connect(w.server.URL(), options...)
	w.ok(err)
	w.t.Cleanup(nc.Close)
	return nc
}

// brokerConn connects as a broker and collects permission errors.
func (w *testWorld) brokerConn() *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(w.server.URL(), append(append(broker.ConnOptions(zerolog.Nop()), w.as("broker", "broker")...),
		nats.ReconnectWait(10*time.Millisecond), nats.ErrorHandler(w.violation))...)
	w.ok(err)
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *testWorld) violation(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violations = append(w.violations, err.Error())
	}
}

// notViolated checks that the broker had no permission errors.
func (w *testWorld) notViolated() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.violations {
		w.t.Errorf("NATS refuses the broker something: %s", v)
	}
}

// serve starts the broker, with short intervals.
func (w *testWorld) serve(change ...func(*consumer.Config)) {
	w.t.Helper()
	if w.config.Keys == nil {
		keys, err := keyfile.New()
		w.ok(err)
		id, secret := w.sim.AddPrincipal("broker")
		w.config = consumer.Config{
			Keys: keys, Now: w.now, MinTTL: messages.Duration(time.Second),
			Streams: consumer.Streams{
				AckWait: 3 * time.Second, // of what was on its way to a connection that was lost
				// With a subscriber to all subjects, NATS takes a lost connection's pulls for
				// served until they expire, ten times this long.
				PullHeartbeat: time.Second,
			},
			Provider: awsiam.New(awsiam.Options{Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")}),
			Workers:  consumer.Workers{Request: 8, Renew: 4, Revoke: 8, Confirm: 2},
		}
		w.config.ProbeEvery, w.config.MaintainEvery = time.Millisecond, 5*time.Millisecond
		w.config.RetryMin, w.config.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	}
	w.conn = w.brokerConn()
	cfg := w.config
	cfg.Conn = w.conn
	for _, f := range change {
		f(&cfg)
	}
	var err error
	w.broker, err = broker.Start(w.t.Context(), cfg, func(ctx context.Context, s *consumer.Secrets) error {
		for _, name := range []string{"ci", "prod"} {
			d, err := secretfile.Parse(fmt.Appendf(nil, "name: %s\nmax_ttl: 24h\ndefault_ttl: 1h\naws: {path: /lessor/}\n", name))
			if err == nil {
				_, err = s.Put(ctx, d, "test")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.ok(err)
	w.t.Cleanup(w.stop)
}

// stop stops the broker, if it is running.
func (w *testWorld) stop() {
	if w.broker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clitest.Patience)
	defer cancel()
	if err := w.broker.Stop(ctx); err != nil {
		w.t.Errorf("the broker does not stop: %v", err)
	}
	w.broker = nil
}

func (w *testWorld) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// pass moves the broker's clock forward.
func (w *testWorld) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// events returns the types of a lease's events. The connection must be allowed to read
// them.
func (w *testWorld) events(nc *nats.Conn, lease string) []messages.EventType {
	w.t.Helper()
	js, err := jetstream.New(nc)
	w.ok(err)
	l, err := messages.ParseLeaseName(lease)
	w.ok(err)
	var types []messages.EventType
	for e, err := range client.Events(w.t.Context(), js, w.ns, client.EventFilter{Identity: l.Identity, Secret: l.Secret, ID: l.ID}) {
		w.ok(err)
		types = append(types, messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease.")))
	}
	return types
}

// inspect returns JetStream with a broker's permissions.
func (w *testWorld) inspect() jetstream.JetStream {
	w.t.Helper()
	js, err := jetstream.New(w.connect("broker", "broker"))
	w.ok(err)
	return js
}

// response is the result of a request.
type response struct {
	msg     *nats.Msg
	reply   messages.Reply
	refused bool // by NATS: a permission is missing, or there are no responders
}

// request sends a request and waits for the reply. If NATS refuses the message, it reports that
// before it answers a flush.
func (w *testWorld) request(nc *nats.Conn, subject, body string, header ...string) response {
	w.t.Helper()
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	w.ok(err)
	defer func() { _ = inbox.Unsubscribe() }()
	if w.send(nc, subject, inbox.Subject, body, header...) {
		return response{refused: true}
	}
	msg, err := inbox.NextMsg(clitest.Patience)
	if errors.Is(err, nats.ErrNoResponders) {
		return response{refused: true}
	}
	w.ok(err)
	a := response{msg: msg}
	_ = json.Unmarshal(msg.Data, &a.reply) // a reply of JetStream is not one
	return a
}

// send sends a message and reports whether NATS refuses it.
func (w *testWorld) send(nc *nats.Conn, subject, reply, body string, header ...string) (refused bool) {
	w.t.Helper()
	before := nc.LastError()
	msg := &nats.Msg{Subject: subject, Reply: reply, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	w.ok(nc.PublishMsg(msg))
	w.ok(nc.Flush())
	err := nc.LastError()
	return err != before && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "Publish")
}

// lease leases the secret ci through the API.
func (w *testWorld) lease(nc *nats.Conn, identity, body string, header ...string) messages.Reply {
	w.t.Helper()
	a := w.request(nc, w.ns.API("request", identity, "ci"), body, header...)
	if a.reply.Kind != messages.KindCredentials {
		w.t.Fatalf("%s gets no lease: %+v %v", identity, a, a.reply.Error)
	}
	return a.reply
}
