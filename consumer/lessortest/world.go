package lessortest

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/retry"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Patience is how long a test waits for what must happen before it fails.
const Patience = time.Minute

// Bounds of the wait between two looks at a condition.
const (
	minPoll = 2 * time.Millisecond
	maxPoll = 20 * time.Millisecond
)

// Group is an IAM group that the account has.
const Group = "deployers"

// World is a NATS server or cluster and an AWS account, on which brokers run. Its
// methods fail the test if something goes wrong. They must be called by the goroutine
// of the test, except where their comment says otherwise.
type World struct {
	T testing.TB
	// Clock is the time of the account and of the brokers.
	Clock *Clock
	// Logs is what brokers have logged.
	Logs *Logs

	// Sim is the AWS account, and AWS the server through which brokers reach it.
	Sim *iamsim.Sim
	AWS *iamsim.Server
	// KeyID and SecretKey are the access key of brokers that do not get another.
	KeyID, SecretKey string

	// Namespace is the prefix of brokers that are started from now on.
	Namespace messages.Namespace
	// Seed is the key in the brokers' key file.
	Seed []byte
	// Keys are the keys of brokers that are started from now on: those of Seed.
	Keys *messages.Keyring

	// Dir is the folder of everything that NATS stores.
	Dir string
	// NATS is the server; nil if the world has a cluster.
	NATS *embedded.Server
	// Cluster is nil if the world has a single server.
	Cluster *embedded.Cluster
	// Conn is the test's own connection to NATS, in the brokers' account.
	Conn *nats.Conn
	JS   jetstream.JetStream

	mu      sync.Mutex
	context context.Context
	renew   time.Time // the context
}

// Options change what [StartWith] starts. The zero value is what [Start] starts.
type Options struct {
	// Account is how the simulator behaves. Its clock is the world's.
	Account iamsim.Options
	// Nodes is the number of NATS servers: 0 and 1 are a single server, more are a
	// cluster.
	Nodes int
	// NATS changes how the single server is started; nil changes nothing.
	NATS func(*embedded.Options)
}

// Start starts a world with a single NATS server. It ends with the test.
func Start(t testing.TB) *World {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith starts a world as the options say. It ends with the test.
func StartWith(t testing.TB, o Options) *World {
	t.Helper()
	w := &World{T: t, Dir: t.TempDir(), Clock: &Clock{}, Logs: &Logs{}}
	o.Account.Now = w.Clock.Now
	w.Sim = iamsim.New(o.Account)
	w.KeyID, w.SecretKey = w.Sim.AddPrincipal("broker")
	w.Sim.AddGroup(Group)
	var err error
	w.AWS, err = w.Sim.Start()
	w.NoError(err)
	t.Cleanup(func() { _ = w.AWS.Close() })
	w.Seed, err = messages.NewKey()
	w.NoError(err)
	w.Keys, err = messages.ParseKeyring(w.Seed)
	w.NoError(err)
	switch {
	case o.Nodes > 1:
		w.startCluster(o.Nodes)
	case o.NATS != nil:
		w.StartNATS(o.NATS)
	default:
		w.StartNATS()
	}
	t.Cleanup(w.searchSecrets)
	return w
}

// NoError fails the test if err is not nil.
func (w *World) NoError(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// Context returns a context for one operation. It does not end before [Patience], unless
// the test does. Any goroutine may call it.
func (w *World) Context() context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Until(w.renew) <= 0 { // a context is for many operations, since tests poll
		var cancel context.CancelFunc
		w.context, cancel = context.WithTimeout(context.Background(), 2*Patience)
		w.T.Cleanup(cancel)
		w.renew = time.Now().Add(Patience)
	}
	return w.context
}

// Eventually waits until the condition holds. what says what is waited for.
func (w *World) Eventually(what string, holds func() bool) {
	w.T.Helper()
	w.EventuallyWithin(Patience, what, holds)
}

// EventuallyWithin is [World.Eventually] with another patience.
func (w *World) EventuallyWithin(d time.Duration, what string, holds func() bool) {
	w.T.Helper()
	if !until(time.Now().Add(d), holds) {
		w.T.Fatalf("did not happen within %s: %s\n%s\n%s", d, what, w.Dump(), w.Logs)
	}
}

// until waits until the condition holds, and returns false if it does not by a time.
func until(end time.Time, holds func() bool) bool {
	for poll := (retry.Backoff{Min: minPoll, Max: maxPoll}); ; time.Sleep(poll.Next()) {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// Dump describes the records and users that there are, as far as NATS answers.
func (w *World) Dump() string {
	var b strings.Builder
	values, err := w.values(w.Namespace.LeaseBucket())
	if err != nil {
		b.WriteString("no records: " + err.Error() + "\n")
	}
	for _, v := range values {
		b.Write(append(v.Value(), '\n'))
	}
	for _, u := range w.Sim.Users() {
		data, _ := json.Marshal(u)
		b.WriteString(string(data) + "\n")
	}
	return b.String()
}
