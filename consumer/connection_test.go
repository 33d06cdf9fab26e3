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
	w.T.Helper()
	return w.Sim.AddPrincipal("manager")
}

// putNow stores a definition as an operator does, without trying it out.
func (w *world) putNow(definition string) *messages.SecretInfo {
	w.T.Helper()
	r := w.admin(messages.AdminPut, putBody(definition, `,"no_check":true`))
	if r.Kind != messages.KindSecret {
		w.T.Fatalf("not stored: %v", r.Error)
	}
	return r.Secret
}

// signedBy are the keys that calls of an action were signed with.
func (w *world) signedBy(action string) map[string]int {
	keys := map[string]int{}
	for _, c := range w.Sim.Calls() {
		if c.Action == action && c.Code == "" {
			keys[c.AccessKeyID]++
		}
	}
	return keys
}

func TestAnAccessKeyIsKeptSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // which searches store, log and events for every secret
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.Lease("ci", "{}")
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
	w.Lease("ci", "{}")
	if r := w.admin(messages.AdminPut, putBody(keyed("ci", "AKIAUNKNOWNUNKNOWN00", ""), `,"no_check":true`)); r.Error == nil || r.Error.Code != messages.CodeInvalidSecret || !strings.Contains(r.Error.Message, "secret_access_key") {
		t.Fatalf("%+v", r.Error)
	}
	w.Revoke(lease)
	w.Eventually("one user is left", func() bool { return w.Sim.UserCount() == 1 })
}

// A wrong secret is put right by putting the definition again.
func TestAWrongSecretKeyIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, strings.Repeat("x", 40)))
	r := w.Request("ci", "{}")
	w.WantError(r, messages.CodeProviderUnavailable)
	if !r.Error.Retryable || !strings.Contains(r.Error.Message, "SignatureDoesNotMatch") {
		t.Fatalf("%+v", r.Error)
	}
	if i := w.putNow(keyed("ci", keyID, secret)); !i.Changed {
		t.Fatalf("%+v", i)
	}
	w.Lease("ci", "{}")
}

// The key of the managing user is changed by hand: leases that were made with the
// old one end with the new one.
func TestLeasesFollowAKeyThatIsChangedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	old := w.Lease("ci", "{}")
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.putNow(keyed("ci", nextID, nextSecret))
	w.alive2(w.Lease("ci", "{}"), 2)
	w.Sim.RevokeKey(keyID)
	r := w.Revoke(old)
	w.WantKind(r, messages.KindRevoked)
	w.Eventually("one user is left", func() bool { return w.Sim.UserCount() == 1 })
}

// alive2 checks that a lease's key works beside others.
func (w *world) alive2(lease messages.Reply, users int) {
	w.T.Helper()
	if n := w.Sim.UserCount(); n != users {
		w.T.Fatalf("%d users, not %d", n, users)
	}
	w.WaitState(lease.Lease.Name, messages.StateActive)
}

// A broker that is started with the credentials of another account does not take
// its leases' users for gone.
func TestAnotherAccountIsNotTakenForAnEmptyOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leasesWithoutBroker(1, "{}")[0]

	elsewhere := iamsim.New(iamsim.Options{Now: w.Clock.Now, Account: "210987654321"})
	keyID, secret := elsewhere.AddPrincipal("broker")
	server, err := elsewhere.Start()
	w.NoError(err)
	t.Cleanup(func() { _ = server.Close() })
	wrong := w.Broker(func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")})
	})
	r := w.Revoke(lease)
	if r.Kind != messages.KindError || !strings.Contains(r.Error.Message, "another account") {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.WantError(w.Request("ci", "{}"), messages.CodeUnavailable)
	if rec, _ := w.Record(lease.Lease.Name); rec.State != messages.StateRevoking {
		t.Fatalf("the lease is %s", rec.State)
	}
	wrong.Close()
	right := w.Broker()
	w.WaitRevoked(lease, messages.ReasonRequested)
	w.WaitQueuesEmpty()
	right.Close()
	// Nothing is left in the first account: the second may be used.
	w.Broker(func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")})
	})
	elsewhere.AddGroup("deployers")
	w.Lease("ci", "{}")
	if n := elsewhere.UserCount(); n != 1 {
		t.Fatalf("%d users in the second account", n)
	}
}

// The broker's own key is changed: connections open with the new one alone.
func TestConnectionsAreSealedAnewWithANewKeyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	b.Close()
	newSeed, err := messages.NewKey()
	w.NoError(err)
	oldSeed := w.Seed
	w.Keys, err = messages.ParseKeyring([]byte(string(newSeed) + "\n" + string(oldSeed)))
	w.NoError(err)
	w.Broker().Close()
	w.Keys, err = messages.ParseKeyring(newSeed)
	w.NoError(err)
	w.Broker()
	r := w.Revoke(lease)
	w.WantKind(r, messages.KindRevoked)
	w.WaitNoUsers()
}

// A connection is kept as long as a definition or a lease names it, and no longer.
func TestAConnectionGoesWithTheLastThatNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.Lease("ci", "{}")
	name := w.admin(messages.AdminGet, `{"name":"ci"}`).Secret.Connection.Name
	w.WaitQueuesEmpty()
	kept := func() bool {
		kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
		w.NoError(err)
		_, err = kv.Get(w.Context(), "connection."+name)
		return err == nil
	}
	w.Deny("DeleteAccessKey")
	w.admin(messages.AdminDelete, `{"name":"ci","force":true}`)
	w.Eventually("it has failed", func() bool { rec, _ := w.Record(lease.Lease.Name); return rec.TeardownError != "" })
	w.Clock.Advance(20 * time.Minute)
	time.Sleep(200 * time.Millisecond) // some rounds of chores; that nothing happens gives no signal
	if !kept() {
		t.Fatal("it has gone before its lease")
	}
	w.Sim.SetHook(nil)
	w.WaitRevoked(lease, messages.ReasonSecretDeleted)
	w.Eventually("the connection is gone", func() bool { w.Clock.Advance(time.Minute); return !kept() })
}
