package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// keyed is a definition with an access key of the managing user.
func keyed(name, keyID, secret string) string {
	if secret != "" {
		secret = `,"secret_access_key":"` + secret + `"`
	}
	return fmt.Sprintf(`{"name":%q,"aws":{"groups":["deployers"],"auth":{"method":"access_key","access_key_id":%q%s}}}`, name, keyID, secret)
}

// manager makes the user whose key definitions have.
func (w *world) manager() (keyID, secret string) {
	w.t.Helper()
	return w.sim.AddPrincipal("manager")
}

// putNow stores a definition as an operator does, without trying it out.
func (w *world) putNow(definition string) *messages.SecretInfo {
	w.t.Helper()
	r := w.admin(messages.AdminPut, putBody(definition, `,"no_check":true`))
	if r.Kind != messages.KindSecret {
		w.t.Fatalf("not stored: %v", r.Error)
	}
	return r.Secret
}

// signedBy are the keys that calls of an action were signed with.
func (w *world) signedBy(action string) map[string]int {
	keys := map[string]int{}
	for _, c := range w.sim.Calls() {
		if c.Action == action && c.Code == "" {
			keys[c.AccessKeyID]++
		}
	}
	return keys
}

func TestAnAccessKeyIsKeptSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // which searches store, log and events for every secret
	w.broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.lease("ci", "{}")
	if by := w.signedBy("CreateUser"); by[keyID] != 1 || len(by) != 1 {
		t.Fatalf("signed by %v, not by %s", by, keyID)
	}
	got := w.admin(messages.AdminGet, `{"name":"ci"}`)
	shown := mustJSON(got)
	if strings.Contains(shown, secret) || strings.Contains(shown, "secret_access_key") || got.Secret.Connection.AccessKeyID != keyID {
		t.Fatalf("shown: %s", shown)
	}
	// It need not be sent again.
	if i := w.putNow(keyed("ci", keyID, "")); i.Changed {
		t.Fatalf("%+v", i)
	}
	w.putNow(strings.Replace(keyed("ci", keyID, ""), `"name"`, `"max_leases":7,"name"`, 1))
	w.lease("ci", "{}")
	if r := w.admin(messages.AdminPut, putBody(keyed("ci", "AKIAUNKNOWNUNKNOWN00", ""), `,"no_check":true`)); r.Error == nil || r.Error.Code != messages.CodeInvalidSecret || !strings.Contains(r.Error.Message, "secret_access_key") {
		t.Fatalf("%+v", r.Error)
	}
	w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	w.eventually("one user is left", func() bool { return w.sim.UserCount() == 1 })
}

// A wrong secret is put right by putting the definition again.
func TestAWrongSecretKeyIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker()
	w.broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, strings.Repeat("x", 40)))
	r := w.ask("ci", "{}")
	w.refused(r, messages.CodeProviderUnavailable)
	if !r.Error.Retryable || !strings.Contains(r.Error.Message, "SignatureDoesNotMatch") {
		t.Fatalf("%+v", r.Error)
	}
	if i := w.putNow(keyed("ci", keyID, secret)); !i.Changed {
		t.Fatalf("%+v", i)
	}
	w.lease("ci", "{}")
}

// The key of the managing user is changed by hand: leases that were made with the
// old one end with the new one.
func TestLeasesFollowAKeyThatIsChangedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker()
	w.broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	old := w.lease("ci", "{}")
	nextID, nextSecret := w.sim.AddAccessKey("manager")
	w.putNow(keyed("ci", nextID, nextSecret))
	w.alive2(w.lease("ci", "{}"), 2)
	w.sim.RevokeKey(keyID)
	r, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, old)), ""))
	if r.Kind != messages.KindRevoked {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.eventually("one user is left", func() bool { return w.sim.UserCount() == 1 })
}

// alive2 checks that a lease's key works beside others.
func (w *world) alive2(lease messages.Reply, users int) {
	w.t.Helper()
	if n := w.sim.UserCount(); n != users {
		w.t.Fatalf("%d users, not %d", n, users)
	}
	w.state(lease.Lease.Name, messages.StateActive)
}

// A broker that is started with the credentials of another account does not take
// its leases' users for gone.
func TestAnotherAccountIsNotTakenForAnEmptyOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leftBehind(1, "{}")[0]

	elsewhere := iamsim.New(iamsim.Options{Now: w.clock.now, Account: "210987654321"})
	keyID, secret := elsewhere.AddPrincipal("broker")
	server, err := elsewhere.Start()
	w.ok(err)
	t.Cleanup(func() { _ = server.Close() })
	wrong := w.broker(func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")})
	})
	r, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	if r.Kind != messages.KindError || !strings.Contains(r.Error.Message, "another account") {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.refused(w.ask("ci", "{}"), messages.CodeUnavailable)
	if rec, _ := w.record(lease.Lease.Name); rec.State != messages.StateRevoking {
		t.Fatalf("the lease is %s", rec.State)
	}
	wrong.stop()
	right := w.broker()
	w.over(lease, messages.ReasonRequested)
	w.quiet()
	right.stop()
	// Nothing is left in the first account: the second may be used.
	w.broker(func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")})
	})
	elsewhere.AddGroup("deployers")
	w.lease("ci", "{}")
	if n := elsewhere.UserCount(); n != 1 {
		t.Fatalf("%d users in the second account", n)
	}
}

// The broker's own key is changed: connections open with the new one alone.
func TestConnectionsAreSealedAnewWithANewKeyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.lease("ci", "{}")
	w.quiet()
	b.stop()
	newSeed, err := messages.NewKey()
	w.ok(err)
	oldSeed := w.seed
	w.keys, err = messages.ParseKeyring([]byte(string(newSeed) + "\n" + string(oldSeed)))
	w.ok(err)
	w.broker().stop()
	w.keys, err = messages.ParseKeyring(newSeed)
	w.ok(err)
	w.broker()
	r, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	if r.Kind != messages.KindRevoked {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.nothingInAWS()
}

// A connection is kept as long as a definition or a lease names it, and no longer.
func TestAConnectionGoesWithTheLastThatNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.lease("ci", "{}")
	name := w.admin(messages.AdminGet, `{"name":"ci"}`).Secret.Connection.Name
	w.quiet()
	kept := func() bool {
		kv, err := w.js.KeyValue(w.ctx(), w.ns.StateBucket())
		w.ok(err)
		_, err = kv.Get(w.ctx(), "connection."+name)
		return err == nil
	}
	w.denies("DeleteAccessKey")
	w.admin(messages.AdminDelete, `{"name":"ci","force":true}`)
	w.eventually("it has failed", func() bool { rec, _ := w.record(lease.Lease.Name); return rec.TeardownError != "" })
	w.clock.move(20 * time.Minute)
	time.Sleep(200 * time.Millisecond) // some rounds of chores; that nothing happens gives no signal
	if !kept() {
		t.Fatal("it has gone before its lease")
	}
	w.sim.SetHook(nil)
	w.over(lease, messages.ReasonSecretDeleted)
	w.eventually("the connection is gone", func() bool { w.clock.move(time.Minute); return !kept() })
}
