//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/scheduler"
)

// published takes note of the subjects on which anything is published in the
// brokers' account.
type published struct {
	mu       sync.Mutex
	subjects map[string]bool
}

func (p *published) note(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subjects[m.Subject] = true
}

func (p *published) has(permission string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subjects {
		if server.SubjectsCollide(s, permission) {
			return true
		}
	}
	return false
}

// TestABrokerNeedsWhatItMay runs a broker through its whole life with its
// permissions: NATS refuses it nothing, and there is no permission that it does not
// use.
func TestABrokerNeedsWhatItMay(t *testing.T) {
	t.Parallel()
	for _, setup := range []natsSetup{staticUsers, jwtUsers} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			w := newNATSWorld(t, setup)
			seen := &published{subjects: map[string]bool{}}
			if setup == staticUsers {
				_, err := w.connect("", natsWitness).Subscribe(">", seen.note)
				w.ok(err)
			}
			w.serve()
			w.life()
			w.reconnect()
			subscribed := w.subscriptions()
			due := w.renewed()
			w.stop()
			if setup == staticUsers {
				w.change()
				w.serve(func(c *consumer.Config) { c.Restored = true }) // which sets right what was changed
				w.restore(due)
				w.fill()
				for _, b := range []string{w.ns.LeaseBucket(), w.ns.SecretBucket(), w.ns.StateBucket()} {
					eventually(t, "flow control of "+b, func() bool { return seen.has("$JS.FC.KV_" + b + ".>") })
				}
				w.stop()
			}
			w.notViolated()
			if setup == jwtUsers {
				return // its permissions are the same, and have no witness
			}
			may := brokerMay(w.ns, "broker")
			for _, p := range may.publish {
				if !seen.has(p) {
					t.Errorf("the broker may publish on %s and never does", p)
				}
			}
			for _, p := range may.subscribe {
				if !slices.ContainsFunc(subscribed, func(s string) bool { return server.SubjectsCollide(s, p) }) {
					t.Errorf("the broker may subscribe to %s and never does", p)
				}
			}
		})
	}
}

// life leads leases and definitions through all that can happen to them.
func (w *natsWorld) life() {
	w.t.Helper()
	alice, olga := w.connect("requester", "alice"), w.connect("operator", "olga")
	is := func(a asked, kind string) messages.Reply {
		w.t.Helper()
		if a.reply.Kind != kind {
			w.t.Fatalf("%q, not %q: %+v %v", a.reply.Kind, kind, a, a.reply.Error)
		}
		return a.reply
	}
	admin := func(v messages.AdminVerb, body string) messages.Reply {
		w.t.Helper()
		kinds := map[messages.AdminVerb]string{
			messages.AdminList: messages.KindSecrets, messages.AdminDelete: messages.KindDeletion, messages.AdminCheck: messages.KindCheck,
		}
		kind := kinds[v]
		if kind == "" {
			kind = messages.KindSecret
		}
		return is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminSecret(v)), body), kind)
	}

	// A lease that is confirmed, renewed, looked at and revoked.
	a := w.ask(alice, w.ns.API("request", "alice", "ci"), `{"confirm":true}`)
	first := is(a, messages.KindCredentials).Lease.Name
	w.ok(a.msg.Respond(nil))
	w.told(olga, first, messages.EventConfirmed)
	is(w.ask(alice, w.ns.API("renew", first), `{"ttl":"2h"}`), messages.KindRenewed)
	is(w.ask(alice, w.ns.API("get", first), ""), messages.KindLease)
	is(w.ask(alice, w.ns.API("list", "alice"), ""), messages.KindLeases)
	is(w.ask(alice, w.ns.API("revoke", first), ""), messages.KindRevoked)

	// One that expires, by the scheduler.
	expires := w.lease(alice, "alice", `{"ttl":"1m"}`).Lease.Name
	eventually(w.t, "it has expired", func() bool {
		w.pass(time.Minute)
		return slices.Contains(w.events(olga, expires), messages.EventRevoked)
	})

	// One that nobody confirms: whether a confirmation waits is looked at first.
	unheard := w.lease(alice, "alice", `{"confirm":true}`).Lease.Name
	eventually(w.t, "it is undelivered", func() bool {
		w.pass(time.Minute)
		return slices.Contains(w.events(olga, unheard), messages.EventUndelivered)
	})

	// A definition with a key of its own, through everything.
	id, secret := w.sim.AddPrincipal("owner")
	definition := fmt.Sprintf(`{"name":"demo","aws":{"path":"/demo/","auth":{"method":"access_key","access_key_id":%q,"secret_access_key":%q}}}`, id, secret)
	admin(messages.AdminPut, `{"definition":`+definition+`}`)
	admin(messages.AdminGet, `{"name":"demo"}`)
	admin(messages.AdminList, "")
	admin(messages.AdminCheck, `{"name":"demo"}`)
	admin(messages.AdminRotateKey, `{"name":"demo"}`)
	owned := is(w.ask(alice, w.ns.API("request", "alice", "demo"), ""), messages.KindCredentials)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseList)), ""), messages.KindLeases)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseRetry)), ""), messages.KindOrdered)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminSweep()), ""), messages.KindSweep)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminKey()), ""), messages.KindKey)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminRestore()), ""), messages.KindRestore)
	admin(messages.AdminDelete, `{"name":"demo"}`)
	w.told(olga, owned.Lease.Name, messages.EventRevoked)
	is(w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseRevoke)), `{"identity":"alice"}`), messages.KindOrdered)
}

// renewed is a lease of which the events tell a renewal.
func (w *natsWorld) renewed() messages.Lease {
	w.t.Helper()
	alice := w.connect("requester", "alice")
	l := w.lease(alice, "alice", `{"ttl":"1m"}`).Lease
	if a := w.ask(alice, w.ns.API("renew", l.Name), `{"ttl":"2m"}`); a.reply.Kind != messages.KindRenewed {
		w.t.Fatalf("%+v %v", a, a.reply.Error)
	}
	return *l
}

// restore has an operator look after leases that are held and would be over, and go
// on.
func (w *natsWorld) restore(due messages.Lease) {
	w.t.Helper()
	w.pass(time.Hour)
	olga := w.connect("operator", "olga")
	for _, body := range []string{"", `{"apply":true}`} {
		a := w.ask(olga, w.ns.AdminAs("olga", w.ns.AdminRestore()), body)
		if r := a.reply.Restore; r == nil || r.Due == 0 || r.Leases[0].Name != due.Name {
			w.t.Fatalf("%+v %v", a, a.reply.Error)
		}
	}
	w.told(olga, due.Name, messages.EventRevoked)
}

// told waits until an operator reads of an event.
func (w *natsWorld) told(nc *nats.Conn, lease string, event messages.EventType) {
	w.t.Helper()
	eventually(w.t, lease+" "+string(event), func() bool { return slices.Contains(w.events(nc, lease), event) })
}

// reconnect has the broker lose its connection, and waits until it works again.
func (w *natsWorld) reconnect() {
	w.t.Helper()
	back := w.conn.StatusChanged(nats.CONNECTED)
	w.ok(w.conn.ForceReconnect())
	<-back
	w.ok(w.conn.Flush())
	alice := w.connect("requester", "alice")
	for range 3 { // each verb's workers find their consumers again
		l := w.lease(alice, "alice", "")
		w.ask(alice, w.ns.API("renew", l.Lease.Name), "")
		w.ask(alice, w.ns.API("revoke", l.Lease.Name), "")
	}
}

// subscriptions are what the brokers' account subscribes to, by the word of the
// system account's user.
func (w *natsWorld) subscriptions() []string {
	w.t.Helper()
	reply, err := w.connect("system", systemUser).Request("$SYS.REQ.SERVER.PING.CONNZ", []byte(`{"subscriptions":true,"auth":true}`), patience)
	w.ok(err)
	var answer struct {
		Data struct {
			Connections []struct {
				Account string   `json:"account"`
				Name    string   `json:"name"`
				List    []string `json:"subscriptions_list"`
			} `json:"connections"`
		} `json:"data"`
	}
	w.ok(json.Unmarshal(reply.Data, &answer))
	var all []string
	for _, c := range answer.Data.Connections {
		if c.Account == brokerAccount && c.Name == "lessor broker" {
			all = append(all, c.List...)
		}
	}
	return all
}

// change makes every stream another than the broker makes it.
func (w *natsWorld) change() {
	w.t.Helper()
	js, err := jetstream.New(w.connect("", natsWitness))
	w.ok(err)
	streams := js.ListStreams(w.t.Context())
	changed := 0
	for s := range streams.Info() {
		s.Config.Duplicates = time.Minute
		_, err := js.UpdateStream(w.t.Context(), s.Config)
		w.ok(err)
		changed++
	}
	w.ok(streams.Err())
	if changed != 8 {
		w.t.Errorf("there are %d streams", changed)
	}
}

// fill puts so much into the buckets that the server does not send it all at once to
// whoever watches them.
func (w *natsWorld) fill() {
	w.t.Helper()
	js, err := jetstream.New(w.connect("", natsWitness))
	w.ok(err)
	much := bytes.Repeat([]byte("x"), 128<<10)
	for i := range 40 {
		for _, key := range []string{"KV.lessor_lease.alice.ci.x%d", "KV.lessor_secret.x%d", "KV.lessor_state.connection.x%d"} {
			_, err := js.Publish(w.t.Context(), "$"+fmt.Sprintf(key, i), much)
			w.ok(err)
		}
	}
}

// TestTheShippedNATSConfigIsMade makes sure that what is shipped is what the command
// makes of the shipped list, and that no key is among it.
func TestTheShippedNATSConfigIsMade(t *testing.T) {
	t.Parallel()
	printed := func(args ...string) string {
		stdout, stderr, code := terminal{}.run(t.Context(), append([]string{"nats-config", identitiesFile}, args...)...)
		if code != exitOK || stderr != "" {
			t.Fatalf("exit code %d, %s", code, stderr)
		}
		return stdout
	}
	for file, want := range map[string]string{
		"static/accounts.conf": printed(), "jwt/accounts.json": printed("--jwt"), "static/lessor.conf": serverConf, "jwt/lessor.conf": serverConf,
	} {
		shipped, err := os.ReadFile(filepath.Join("../../deploy/nats", file))
		if err != nil {
			t.Fatal(err)
		}
		if string(shipped) != want {
			t.Errorf("deploy/nats/%s is not what nats-config makes of identities.yaml", file)
		}
		if key := anyKey.FindString(string(shipped)); key != "" {
			t.Errorf("deploy/nats/%s has a key: %.4s…", file, key)
		}
	}
}

// anyKey is an nkey, public or a seed, or a JWT.
var anyKey = regexp.MustCompile(`\bS?[OAU][A-Z2-7]{50,}|eyJ[A-Za-z0-9_-]{10}`)

// TestNATSConfigKeepsKeys makes the configuration twice, with another requester the
// second time.
func TestNATSConfigKeepsKeys(t *testing.T) {
	t.Parallel()
	for _, mode := range [][]string{nil, {"--jwt"}} {
		dir := t.TempDir()
		list := filepath.Join(t.TempDir(), "identities.yaml")
		once := func(requesters string) map[string]string {
			t.Helper()
			if err := os.WriteFile(list, []byte("brokers: [one]\nrequesters: {"+requesters+"}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := terminal{}.run(t.Context(), append([]string{"nats-config", list, "--out", dir}, mode...)...)
			if code != exitOK || stdout != "" || anyKey.MatchString(stderr) {
				t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
			}
			kept := map[string]string{}
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				data, err := os.ReadFile(path)
				kept[strings.TrimPrefix(path, dir)] = string(data)
				info, statErr := d.Info()
				if seeds.Match(data) && statErr == nil && info.Mode().Perm() != 0o600 {
					t.Errorf("%s has a private key and is %s", path, info.Mode())
				}
				return errors.Join(err, statErr)
			})
			if err != nil {
				t.Fatal(err)
			}
			return kept
		}
		before := once("alice: [ci]")
		own := before["/"+confFile] + "# mine\n"
		if err := os.WriteFile(filepath.Join(dir, confFile), []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		after := once("alice: [ci], bob: all")
		if after["/"+confFile] != own {
			t.Errorf("%s is another", confFile)
		}
		private := 0
		for path, text := range before {
			if seeds.MatchString(text) && strings.HasSuffix(path, seedSuffix) {
				private++
				if after[path] != text {
					t.Errorf("%s is another", path)
				}
			}
		}
		if private < 3 || len(after) <= len(before) {
			t.Errorf("%d private keys, %d files and then %d", private, len(before), len(after))
		}
		for _, public := range []string{confFile, keysFile, accountsFile} {
			if seeds.MatchString(after["/"+public]) {
				t.Errorf("%s has a private key", public)
			}
		}
	}
}

// TestAReloadIsEnough adds a requester, and takes one away, while the server runs.
func TestAReloadIsEnough(t *testing.T) {
	t.Parallel()
	for _, mode := range [][]string{nil, {"--jwt"}} {
		dir := t.TempDir()
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		list := filepath.Join(dir, "identities.yaml")
		configure := func(requesters string) {
			t.Helper()
			ok(os.WriteFile(list, []byte("brokers: [one]\nrequesters: {"+requesters+"}\n"), 0o600))
			if _, stderr, code := (terminal{}).run(t.Context(), append([]string{"nats-config", list, "--out", dir}, mode...)...); code != exitOK {
				t.Fatal(stderr)
			}
		}
		conf := filepath.Join(dir, confFile)
		ok(os.WriteFile(conf, fmt.Appendf(nil, "listen: \"127.0.0.1:-1\"\njetstream: {store_dir: %q}\ninclude \"./accounts.conf\"\n", t.TempDir()), 0o600))
		configure("alice: [ci]")
		o, err := server.ProcessConfigFile(conf)
		ok(err)
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		ok(err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		enters := func(user string) bool {
			t.Helper()
			auth := nats.UserCredentials(filepath.Join(dir, "creds", userKey("requester", user)+".creds"))
			if mode == nil {
				auth, err = nats.NkeyOptionFromSeed(filepath.Join(dir, "keys", userKey("requester", user)+seedSuffix))
				ok(err)
			}
			nc, err := nats.Connect(s.ClientURL(), auth)
			if err == nil {
				nc.Close()
			}
			return err == nil
		}
		configure("bob: all")
		if !enters("alice") || enters("bob") {
			t.Errorf("%q: before the reload", mode)
		}
		ok(s.Reload())
		if enters("alice") || !enters("bob") {
			t.Errorf("%q: after the reload", mode)
		}
	}
}

// seeds finds private keys.
var seeds = regexp.MustCompile(`\bS[OAU][A-Z2-7]{50,}`)

// TestBadIdentities has lists of people that would give somebody more than is meant.
func TestBadIdentities(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                               "brokers",
		"brokers: [b]\nrequesters: {'*': [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {'>': [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {a.b: [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {LESSOR: [ci]}":       "a-z",
		"brokers: [b]\nrequesters: {'b\u043eb': [ci]}":   "a-z",
		"brokers: [b]\nrequesters: {'{{name()}}': [ci]}": "a-z",
		"brokers: [b]\nrequesters: {a: ['*']}":           "a-z",
		"brokers: [b]\nrequesters: {a: ['>']}":           "a-z",
		"brokers: [b]\nrequesters: {a: ci}":              "all",
		"brokers: [b]\nrequesters: {a: []}":              "all",
		"brokers: [b]\nrequesters: {a: null}":            "all",
		"brokers: [b]\nrequesters: {a: [ci], a: [prod]}": "already",
		"brokers: ['*']":                                 "a-z",
		"brokers: [b, b]":                                "twice",
		"brokers: [b]\noperators: ['o o']":               "a-z",
		"brokers: [b]\nauditors: ['$x']":                 "a-z",
		"brokers: [b]\nprefix: a.b":                      "prefix",
		"brokers: [b]\nadmins: [x]":                      "admins",
	} {
		file := filepath.Join(t.TempDir(), "identities.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := (terminal{}).run(t.Context(), "nats-config", file); code != exitUsage || stdout != "" || !strings.Contains(stderr, says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, want %q: %s%s", text, code, says, stdout, stderr)
		}
	}
	if _, stderr, code := (terminal{}).run(t.Context(), "nats-config", "no such file"); code != exitFailed || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestCommandsWithAccounts runs the program itself, broker and all, with what
// nats-config made.
func TestCommandsWithAccounts(t *testing.T) {
	t.Parallel()
	for _, setup := range []natsSetup{staticUsers, jwtUsers} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			w, secrets := newNATSWorld(t, setup), t.TempDir()
			w.ok(os.WriteFile(filepath.Join(secrets, "ci.yaml"), []byte("name: ci\naws: {path: /lessor/}\n"), 0o600))
			id, secretKey := w.sim.AddPrincipal("broker")
			keyFile := newKeyFile(t)
			p := start(t, map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_ENDPOINT_URL": w.aws.URL},
				append([]string{"serve", "--key-file", keyFile, "--secrets", secrets}, w.flags("broker", "broker")...)...)
			p.logs("broker is up")
			as := func(role, user string, args ...string) string {
				t.Helper()
				return terminal{clock: time.Now}.ok(t, append(args, w.flags(role, user)...)...)
			}
			alice := func(args ...string) string { t.Helper(); return as("requester", "alice", args...) }
			said := alice("request", "ci", "-i", "alice", "--sealed")
			name := submatch(t, said, `lease +(\S+)`)
			eventually(t, "it is confirmed", func() bool { return strings.Contains(as("auditor", "audrey", "events", "--no-follow"), "confirmed") })
			alice("renew", name, "--ttl", "2h")
			if !strings.Contains(alice("list", "-i", "alice")+alice("show", name), name) {
				t.Error("her lease is not shown")
			}
			alice("revoke", name)
			as("operator", "olga", "secret", "check", "ci", "--operator", "olga")
			as("operator", "kim", "sweep", "--operator", "kim")
			for _, events := range []string{as("operator", "olga", "events", "--no-follow"), as("auditor", "audrey", "events", "--no-follow")} {
				for _, e := range []string{"issued", "confirmed", "renewed", "revoked", "secret-check done  by=olga", "sweep done  by=kim"} {
					if !strings.Contains(events, e) {
						t.Errorf("no event %s in\n%s", e, events)
					}
				}
			}
			key := strings.TrimSpace(terminal{}.ok(t, "audit", "keys", "--key-file", keyFile))
			if verified := as("auditor", "audrey", "audit", "verify", "--key", key, "--js-domain", "lessor"); !strings.Contains(verified, "events, 1 to ") {
				t.Errorf("the auditor verifies %s", verified)
			}
			_, stderr, code := terminal{}.run(t.Context(), append([]string{"request", "prod", "-i", "alice"}, w.flags("requester", "alice")...)...)
			if code != exitFailed || !strings.Contains(stderr, "NATS does not let this connection ask as alice") {
				t.Errorf("what she may not: exit code %d, %s", code, stderr)
			}
			p.stop()
			if log := p.stderr.String(); strings.Contains(log, "Violation") {
				t.Errorf("the broker may not what it does: %s", log)
			}
		})
	}
}

// TestASigningKeyGivesNoMore makes users with a requester's signing key, as whoever
// has it can: with names that stand for others, and with rights of their own.
func TestASigningKeyGivesNoMore(t *testing.T) {
	t.Parallel()
	w := newNATSWorld(t, jwtUsers)
	w.serve()
	bob := w.connect("requester", "bob")
	victim := w.lease(bob, "bob", "").Lease
	keys := keyFolder{filepath.Join(w.dir, "keys")}
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
			continue // it is no user
		}
		tried++
		inbox, err := nc.SubscribeSync("_INBOX_" + name + ".x")
		w.ok(err)
		for _, subject := range []string{w.ns.API("request", "bob", "ci"), w.ns.API("get", victim.Name), w.ns.API("revoke", victim.Name), w.ns.API("list", "bob")} {
			if w.send(nc, subject, inbox.Subject, "") {
				continue
			}
			if m, err := inbox.NextMsg(patience); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("a user named %q asks on %s: %v, %v", name, subject, m, err)
			}
		}
	}
	if tried < 3 {
		t.Errorf("only %d names were tried", tried)
	}
	if a := w.ask(bob, w.ns.API("get", victim.Name), ""); a.reply.Lease == nil || a.reply.Lease.State != messages.StateActive {
		t.Errorf("bob's lease: %+v", a.reply)
	}

	own, pair := user("alice")
	own.UserPermissionLimits = jwt.UserPermissionLimits{Permissions: jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{">"}}}}
	if _, err := connect(signing, own, pair); err == nil {
		t.Error("a user with rights of its own is let in")
	}
	scoped, pair := user("alice")
	scoped.IssuerAccount = ""
	if _, err := connect(root, scoped, pair); err == nil {
		t.Error("a user that the account's own key has signed is let in")
	}
}

// TestRolesAreEnough runs worker and scheduler on connections of their own, each with
// its role's permissions. The sweeper is the worker's, and needs no more.
func TestRolesAreEnough(t *testing.T) {
	t.Parallel()
	w := newNATSWorld(t, staticUsers)
	worker, sweeper := workerMay(w.ns, "x"), sweeperMay(w.ns, "x")
	for i, list := range [][]string{sweeper.publish, sweeper.subscribe} {
		for _, p := range list {
			if !slices.Contains([][]string{worker.publish, worker.subscribe}[i], p) {
				t.Errorf("the sweeper may more than the worker: %s", p)
			}
		}
	}
	w.serve() // which makes the streams
	lease := w.lease(w.connect("requester", "alice"), "alice", `{"ttl":"1m"}`).Lease
	w.stop()

	conn := func(role string) *nats.Conn {
		nc, err := nats.Connect(w.server.URL(), nats.UserInfo(role, natsWitness), nats.CustomInboxPrefix("_INBOX_"+role), nats.ErrorHandler(w.violation))
		w.ok(err)
		t.Cleanup(nc.Close)
		return nc
	}
	cfg := w.config
	cfg.Conn = conn("worker")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c, err := consumer.New(ctx, cfg)
	w.ok(err)
	w.ok(c.Start(ctx))
	s, err := scheduler.New(scheduler.Config{Conn: conn("scheduler"), Now: w.now, Tick: 10 * time.Millisecond, Check: 10 * time.Millisecond})
	w.ok(err)
	s.Start()
	w.pass(time.Hour)
	audrey := w.connect("auditor", "audrey")
	eventually(t, "the lease has expired", func() bool { return slices.Contains(w.events(audrey, lease.Name), messages.EventRevoked) })
	s.Stop()
	w.ok(c.Stop(ctx))
	w.notViolated()
}
