package consumer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// xkey makes a requester's key pair.
func (w *world) xkey() (seed []byte, public string) {
	w.T.Helper()
	pair, err := nkeys.CreateCurveKeys()
	w.NoError(err)
	seed, err = pair.Seed()
	w.NoError(err)
	public, err = pair.PublicKey()
	w.NoError(err)
	return seed, public
}

// revisions returns all revisions of a key that a bucket's stream still has.
func (w *world) revisions(bucket, key string) (all [][]byte) {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), "KV_"+bucket)
	w.NoError(err)
	info, err := s.Info(w.Context())
	w.NoError(err)
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(w.Context(), seq)
		if err != nil {
			continue // a revision that was removed
		}
		if m.Subject == "$KV."+bucket+"."+key {
			all = append(all, m.Data)
		}
	}
	return all
}

func TestSealedCredentialsOpenForTheRequesterOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	pair, err := nkeys.CreateCurveKeys()
	w.NoError(err)
	public, err := pair.PublicKey()
	w.NoError(err)
	seed, err := pair.Seed()
	w.NoError(err)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), fmt.Sprintf(`{"xkey":%q}`, public))
	r, msg := w.Answer(sub)
	if r.Kind != messages.KindCredentials || r.Credentials != nil || r.Sealed == nil {
		t.Fatalf("not sealed: %+v", r)
	}
	for _, s := range w.Sim.IssuedSecrets() {
		if bytes.Contains(msg.Data, []byte(s)) {
			t.Fatal("the secret is in the message in clear")
		}
	}
	c, err := messages.OpenSealed(seed, r.Sealed)
	w.NoError(err)
	if c.Lease != r.Lease.Name || c.Identity != "alice" || !c.ExpiresAt.Equal(r.Lease.ExpiresAt) || !w.Works(&c.Credentials) {
		t.Fatalf("the sealed contents are %+v", c)
	}
}

// TestSealedKeyLeavesTheBucketWithTheDelivery: the bucket keeps no earlier revision of
// the record, although it was created with a history.
func TestSealedKeyLeavesTheBucketWithTheDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.JS.CreateKeyValue(w.Context(), jetstream.KeyValueConfig{Bucket: w.Namespace.LeaseBucket(), History: 10})
	w.NoError(err)
	w.Put(w.Broker(), lessortest.Secret)
	_, xkey := w.xkey()
	for _, body := range []string{`{"confirm":true}`, `{"confirm":true,"xkey":"` + xkey + `"}`} {
		r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), body))
		w.WaitQueuesEmpty() // the record is not written again before the confirmation
		waits := w.WaitState(r.Lease.Name, messages.StateActive)
		if waits.Sealed == nil {
			t.Fatal("the sealed key is not in the record")
		}
		box, err := json.Marshal(waits.Sealed.Box)
		w.NoError(err)
		if !bytes.Contains(bytes.Join(w.revisions(w.Namespace.LeaseBucket(), r.Lease.Name), nil), box) {
			t.Fatal("the search does not find the sealed key while it is stored")
		}
		w.NoError(msg.Respond(nil))
		w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
		kept := w.revisions(w.Namespace.LeaseBucket(), r.Lease.Name)
		if len(kept) != 1 || bytes.Contains(kept[0], box) || bytes.Contains(kept[0], []byte(`"sealed"`)) {
			t.Errorf("%d revisions: %s", len(kept), bytes.Join(kept, []byte("\n")))
		}
	}
	// Neither does it if the delivery is not confirmed.
	r := w.Lease("ci", `{"confirm":true}`)
	w.WaitQueuesEmpty() // the time to confirm counts from the stored delivery
	w.Clock.Advance(11 * time.Second)
	w.WaitState(r.Lease.Name, messages.StateRevoked)
	if kept := w.revisions(w.Namespace.LeaseBucket(), r.Lease.Name); len(kept) != 1 || bytes.Contains(kept[0], []byte(`"sealed"`)) {
		t.Errorf("%d revisions: %s", len(kept), bytes.Join(kept, []byte("\n")))
	}
}

func TestSecretCanRequireSealing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), strings.Replace(lessortest.Secret, `"name"`, `"require_sealed":true,"name"`, 1))
	w.Sim.ResetCalls()
	w.WantError(w.Request("ci", "{}"), messages.CodeSealedRequired)
	w.WantError(w.Call(w.Conn, w.Namespace.API("request", "alice", "ci"), ""), messages.CodeSealedRequired)
	if len(w.Sim.Calls()) > 0 || len(w.Records()) > 0 {
		t.Error("a refusal made calls, or left a record")
	}
	seed, public := w.xkey()
	r := w.Lease("ci", `{"xkey":"`+public+`"}`)
	if r.Credentials != nil || r.Sealed == nil {
		t.Fatalf("%+v", r)
	}
	got, err := messages.OpenSealed(seed, r.Sealed)
	w.NoError(err)
	if got.Lease != r.Lease.Name || got.Identity != "alice" || !got.ExpiresAt.Equal(r.Lease.ExpiresAt) || !w.Works(&got.Credentials) {
		t.Errorf("%+v of %+v", got, r.Lease)
	}
}

// TestSealedKeyIsNowhereInClearOnNATS subscribes to every subject of the broker's
// account.
func TestSealedKeyIsNowhereInClearOnNATS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	sub, err := w.Conn.SubscribeSync(">")
	w.NoError(err)
	w.NoError(sub.SetPendingLimits(-1, -1))
	_, public := w.xkey()
	w.Lease("ci", `{"xkey":"`+public+`"}`)
	clear := w.Lease("ci", "{}") // the search must find this key
	w.WaitQueuesEmpty()
	w.NoError(w.Conn.Flush())
	shown := map[string]bool{}
	for n, _, _ := sub.Pending(); n > 0; n-- {
		m, err := sub.NextMsg(lessortest.Patience)
		w.NoError(err)
		for _, s := range w.Sim.IssuedSecrets() {
			if bytes.Contains(m.Data, []byte(s)) {
				shown[s] = true
				if !strings.HasPrefix(m.Subject, "_INBOX.") {
					t.Errorf("a secret key is in clear on %s", m.Subject)
				}
			}
		}
	}
	if want := map[string]bool{clear.Credentials.SecretAccessKey.Reveal(): true}; !reflect.DeepEqual(shown, want) {
		t.Errorf("%d keys were seen in clear; want the one that was requested in clear", len(shown))
	}
}

// TestKeyFileIsRotatedWhileDeliveriesAreOpen restarts two brokers, one at a time, with
// the key files of docs/operations.md, while leases wait for their confirmation.
func TestKeyFileIsRotatedWhileDeliveriesAreOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh, err := messages.NewKey()
	w.NoError(err)
	keyring := func(seeds ...[]byte) *messages.Keyring {
		r, err := messages.ParseKeyring(bytes.Join(seeds, []byte("\n")))
		w.NoError(err)
		return r
	}
	start := func(seeds ...[]byte) *lessortest.Broker {
		w.Keys = keyring(seeds...)
		return w.Broker(func(c *consumer.Config) { c.Timing.Confirm = time.Hour })
	}
	brokers := []*lessortest.Broker{start(w.Seed), start(w.Seed)}
	w.Put(brokers[0], lessortest.Secret)
	var waiting []messages.Reply
	var answers []func() error
	wait := func(key string) {
		r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, messages.HeaderIdempotencyKey, key))
		waiting, answers = append(waiting, r), append(answers, func() error { return msg.Respond(nil) })
	}
	wait("before")
	for _, seeds := range [][][]byte{{w.Seed, fresh}, {fresh, w.Seed}} {
		for i := range brokers {
			w.WaitQueuesEmpty()
			brokers[i].Close()
			brokers[i] = start(seeds...)
			wait(string(rune('a' + len(waiting)))) // handled by either of the brokers
		}
	}
	from := map[string]bool{}
	for _, r := range waiting {
		rec, _ := w.Record(r.Lease.Name)
		if rec.Sealed == nil {
			t.Fatalf("the delivery of %s is not open", r.Lease.Name)
		}
		from[rec.Sealed.From] = true
	}
	if len(from) != 2 {
		t.Errorf("the leases were sealed by %d keys", len(from))
	}
	// Each broker opens what the other sealed: a repeat gets the same delivery, and
	// confirmations count.
	again, _ := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, messages.HeaderIdempotencyKey, "before"))
	if again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != waiting[0].Credentials.SecretAccessKey.Reveal() {
		t.Fatalf("%+v %v", again, again.Error)
	}
	for i, confirm := range answers {
		w.NoError(confirm())
		w.WaitEvents(waiting[i].Lease.Name, messages.EventIssued, messages.EventConfirmed)
	}
	// The old key is removed. A broker that has only the old key does not start.
	w.WaitQueuesEmpty()
	for i := range brokers {
		brokers[i].Close()
	}
	start(fresh)
	w.Keys = keyring(w.Seed)
	if _, err := w.TryBroker(w.Connect()); err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("a broker with the old key: %v", err)
	}
	w.Keys = keyring(fresh)
	r := w.Revoke(waiting[0])
	if r.Kind != messages.KindRevoked {
		t.Errorf("%v", r.Error)
	}
}
