//go:build unix

package natsconfig

import (
	"errors"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

// TestSigningKeyCantExtendPermissions signs users with a requester's signing key: with names
// of others and wildcards, and with permissions of their own.
func TestSigningKeyCantExtendPermissions(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, jwtUsers)
	w.serve()
	bob := w.connect("requester", "bob")
	victim := w.lease(bob, "bob", "").Lease
	keys := keysOf(w.dir)
	account, err := keys.public("account-alice", nkeys.PrefixByteAccount)
	w.ok(err)
	signing, err := keys.key("signing-alice", nkeys.PrefixByteAccount)
	w.ok(err)
	root, err := keys.key("account-alice", nkeys.PrefixByteAccount)
	w.ok(err)
	connect := func(signer nkeys.KeyPair, claims *jwt.UserClaims, user nkeys.KeyPair) (*nats.Conn, error) {
		token, err := claims.Encode(signer)
		w.ok(err)
		nc, err := nats.Connect(w.server.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
			nats.UserJWT(func() (string, error) { return token, nil }, user.Sign))
		if err == nil {
			t.Cleanup(nc.Close)
		}
		return nc, err
	}
	user := func(name string) (*jwt.UserClaims, nkeys.KeyPair) {
		pair, err := nkeys.CreateUser()
		w.ok(err)
		id, err := pair.PublicKey()
		w.ok(err)
		c := jwt.NewUserClaims(id)
		c.Name, c.IssuerAccount = name, account
		c.SetScoped(true)
		return c, pair
	}
	tried := 0
	for _, name := range []string{"alice", "bob", "*", ">", "bob.ci", "alice.>", ""} {
		claims, pair := user(name)
		nc, err := connect(signing, claims, pair)
		if err != nil {
			continue // the server refuses it
		}
		tried++
		inbox, err := nc.SubscribeSync("_INBOX_" + name + ".x")
		w.ok(err)
		for _, subject := range []string{w.ns.API("request", "bob", "ci"), w.ns.API("get", victim.Name), w.ns.API("revoke", victim.Name), w.ns.API("list", "bob")} {
			if w.send(nc, subject, inbox.Subject, "") {
				continue
			}
			if m, err := inbox.NextMsg(clitest.Patience); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("a user named %q may publish on %s: %v, %v", name, subject, m, err)
			}
		}
	}
	if tried < 3 {
		t.Errorf("only %d names were accepted", tried)
	}
	if a := w.request(bob, w.ns.API("get", victim.Name), ""); a.reply.Lease == nil || a.reply.Lease.State != messages.StateActive {
		t.Errorf("bob's lease: %+v", a.reply)
	}

	own, pair := user("alice")
	own.UserPermissionLimits = jwt.UserPermissionLimits{Permissions: jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{">"}}}}
	if _, err := connect(signing, own, pair); err == nil {
		t.Error("a user with permissions of its own can connect")
	}
	scoped, pair := user("alice")
	scoped.IssuerAccount = ""
	if _, err := connect(root, scoped, pair); err == nil {
		t.Error("a user signed by the account's own key can connect")
	}
}
