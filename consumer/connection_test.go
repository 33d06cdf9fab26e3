package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestAccessKeyIsStoredSealedAndNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // which searches store, log and events for every secret
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	lease := w.Lease("ci", "{}")
	if by := w.signedBy("CreateUser"); by[keyID] != 1 || len(by) != 1 {
		t.Fatalf("signed with %v, want %s", by, keyID)
	}
	got := w.adminSecret(messages.AdminGet, `{"name":"ci"}`)
	shown := mustJSON(got)
	if strings.Contains(shown, secret) || strings.Contains(shown, "secret_access_key") || got.Secret.Connection.AccessKeyID != keyID {
		t.Fatalf("the answer shows %s", shown)
	}
	// The secret key need not be sent again.
	if i := w.storeSecret(keyed("ci", keyID, "")); i.Changed {
		t.Fatalf("%+v", i)
	}
	w.storeSecret(strings.Replace(keyed("ci", keyID, ""), `"name"`, `"max_leases":7,"name"`, 1))
	w.Lease("ci", "{}")
	if r := w.adminSecret(messages.AdminPut, putBody(keyed("ci", "AKIAUNKNOWNUNKNOWN00", ""), `,"no_check":true`)); r.Error == nil || r.Error.Code != messages.CodeInvalidSecret || !strings.Contains(r.Error.Message, "secret_access_key") {
		t.Fatalf("%+v", r.Error)
	}
	w.Revoke(lease)
	w.Eventually("one user is left", func() bool { return w.Sim.UserCount() == 1 })
}

func TestWrongSecretKeyCanBeCorrected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, strings.Repeat("x", 40)))
	r := w.Request("ci", "{}")
	w.WantError(r, messages.CodeProviderUnavailable)
	if !r.Error.Retryable || !strings.Contains(r.Error.Message, "SignatureDoesNotMatch") {
		t.Fatalf("%+v", r.Error)
	}
	if i := w.storeSecret(keyed("ci", keyID, secret)); !i.Changed {
		t.Fatalf("%+v", i)
	}
	w.Lease("ci", "{}")
}

// TestLeasesFollowAReplacedKey: an operator changes the access key of the managing
// user. Leases that were made with the old key end with the new one.
func TestLeasesFollowAReplacedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	old := w.Lease("ci", "{}")
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.storeSecret(keyed("ci", nextID, nextSecret))
	w.wantUsers(w.Lease("ci", "{}"), 2)
	w.Sim.RevokeKey(keyID)
	r := w.Revoke(old)
	w.WantKind(r, messages.KindRevoked)
	w.Eventually("one user is left", func() bool { return w.Sim.UserCount() == 1 })
}

// TestBrokerInAnotherAccountEndsNoLease: a broker with the credentials of another
// account does not find the users of its leases there, and does not take them for
// deleted.
func TestBrokerInAnotherAccountEndsNoLease(t *testing.T) {
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
	// No user is left in the first account: the second can be used.
	w.Broker(func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")})
	})
	elsewhere.AddGroup("deployers")
	w.Lease("ci", "{}")
	if n := elsewhere.UserCount(); n != 1 {
		t.Fatalf("%d users in the second account", n)
	}
}

func TestConnectionsAreResealedWithANewKeyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
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

// TestConnectionIsRemovedWithItsLastUser: it is kept as long as a definition or a lease
// names it.
func TestConnectionIsRemovedWithItsLastUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	lease := w.Lease("ci", "{}")
	name := w.adminSecret(messages.AdminGet, `{"name":"ci"}`).Secret.Connection.Name
	w.WaitQueuesEmpty()
	kept := func() bool {
		kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
		w.NoError(err)
		_, err = kv.Get(w.Context(), "connection."+name)
		return err == nil
	}
	w.Deny("DeleteAccessKey")
	w.adminSecret(messages.AdminDelete, `{"name":"ci","force":true}`)
	w.Eventually("the teardown has failed", func() bool { rec, _ := w.Record(lease.Lease.Name); return rec.TeardownError != "" })
	w.Clock.Advance(20 * time.Minute)
	time.Sleep(200 * time.Millisecond) // some rounds of maintenance; that nothing happens gives no signal
	if !kept() {
		t.Fatal("the connection was removed before its lease ended")
	}
	w.Sim.SetHook(nil)
	w.WaitRevoked(lease, messages.ReasonSecretDeleted)
	w.Eventually("the connection is removed", func() bool { w.Clock.Advance(time.Minute); return !kept() })
}

// TestConnectionStaysWhileSomethingIsUnreadable: a record or a definition that can't be
// read may name the connection.
func TestConnectionStaysWhileSomethingIsUnreadable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, bucket, key, value string }{
		{"a lease", "lease", "alice.ci.0000000000000000000000000a", `{"v":2,"due":"2036-01-02T15:04:05Z","state":"active"}`},
		{"a definition", "secret", "ci", `{"v":1,"definition":{"name":"ci","tomorrow":true}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
			keyID, secret := w.manager()
			w.storeSecret(keyed("ci", keyID, secret))
			name := w.adminSecret(messages.AdminGet, `{"name":"ci"}`).Secret.Connection.Name
			if c.bucket == "lease" {
				w.adminSecret(messages.AdminDelete, `{"name":"ci"}`)
			}
			kv, err := w.JS.KeyValue(w.Context(), "lessor_"+c.bucket)
			w.NoError(err)
			_, err = kv.PutString(w.Context(), c.key, c.value)
			w.NoError(err)
			state, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
			w.NoError(err)
			const unused = `"unused_since":"2020-01-02T15:04:05Z",`
			was, err := state.Get(w.Context(), "connection."+name)
			w.NoError(err)
			_, err = state.PutString(w.Context(), was.Key(), "{"+unused+strings.TrimPrefix(string(was.Value()), "{"))
			w.NoError(err)
			w.Clock.Advance(20 * time.Minute)
			w.Eventually("the connection counts as used", func() bool {
				now, err := state.Get(w.Context(), was.Key())
				w.NoError(err) // the connection exists
				return !strings.Contains(string(now.Value()), "unused_since")
			})
		})
	}
}

// TestUnreadableConnectionDoesNotAffectOthers: the leases of other connections follow a
// key that is replaced.
func TestUnreadableConnectionDoesNotAffectOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	old := w.leaseSoon("ci")
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	_, err = kv.PutString(w.Context(), "connection.aaa", `{"v":2}`)
	w.NoError(err)
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.storeSecret(keyed("ci", nextID, nextSecret))
	w.leaseSoon("ci")
	w.Sim.RevokeKey(keyID)
	w.mustRevoke(old)
}

// TestRefusedPutKeepsTheWorkingKey: the dry run of a definition with a wrong secret key
// fails, and it is not stored.
func TestRefusedPutKeepsTheWorkingKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	lease := w.leaseSoon("ci")
	r := w.adminSecret(messages.AdminPut, putBody(keyed("ci", keyID, strings.Repeat("x", 40)), ""))
	w.WantKind(r, messages.KindError)
	w.mustRevoke(lease)
	w.leaseSoon("ci")
	w.WantKind(w.adminSecret(messages.AdminPut, putBody(keyed("ci", keyID, secret), "")), messages.KindSecret)
}
