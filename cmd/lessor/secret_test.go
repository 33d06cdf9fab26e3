//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// TestOperatorsSecrets leads a dynamic secret through its life, from put to
// delete.
func TestOperatorsSecrets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p, x := s.serve()
	fails := func(says string, args ...string) {
		t.Helper()
		if stdout, stderr, code := x.run(t.Context(), args...); code != exitFailed || !strings.Contains(stderr, says) {
			t.Errorf("lessor %s: exit code %d, want %q:\n%s%s", strings.Join(args, " "), code, says, stdout, stderr)
		}
	}
	file := filepath.Join(t.TempDir(), "build.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := strings.NewReplacer("name: ci", "name: build", "/lessor/ci/", "/lessor/build/").Replace(ciSecret)

	// What does not work is not stored.
	write(strings.Replace(build, "groups: [deployers]", "groups: [nobody]", 1))
	fails("check_failed", "secret", "put", file)
	fails("lessor secret list", "secret", "get", "build")
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("the check has left %d users", n)
	}

	write(build)
	put := x.reply(t, "secret", "put", file, "--revision", "0")
	if put.Secret == nil || !put.Secret.Changed || put.Check == nil || !put.Check.OK || len(put.Check.Calls) == 0 {
		t.Fatalf("put: %+v", put)
	}
	if again := x.reply(t, "secret", "put", file, "--no-check"); again.Secret.Changed || again.Secret.Revision != put.Secret.Revision {
		t.Errorf("put again: %+v", again.Secret)
	}
	fails("revision_mismatch", "secret", "put", file, "--revision", "0")
	if list := x.ok(t, "secret", "list"); !strings.Contains(list, "build") || !strings.Contains(list, "file") {
		t.Errorf("list:\n%s", list)
	}

	// What get shows can be put.
	shown := x.ok(t, "secret", "get", "build")
	write(strings.Replace(shown, "max_ttl: 1d", "max_ttl: 2d", 1))
	changed := x.reply(t, "secret", "put", file)
	if got := changed.Secret.Definition.MaxTTL.String(); !changed.Secret.Changed || changed.Secret.Revision == put.Secret.Revision || got != "2d" {
		t.Errorf("changed: %+v", changed.Secret)
	}
	if table := x.ok(t, "secret", "check", "build"); !strings.Contains(table, "CreateUser") || strings.Contains(table, "denied") {
		t.Errorf("check:\n%s", table)
	}
	if policy := x.ok(t, "policy", "build"); !strings.Contains(policy, ":user/lessor/build/*") {
		t.Errorf("policy:\n%s", policy)
	}

	lease := x.reply(t, "request", "build", "-i", "alice")
	x.reply(t, "request", "ci", "-i", "alice")
	if said := x.ok(t, "secret", "delete", "build"); said != "build is deleted\n" {
		t.Errorf("delete: %s", said)
	}
	if l := x.reply(t, "show", lease.Lease.Name).Lease; l.State != messages.StateRevoked || l.Reason != messages.ReasonSecretDeleted {
		t.Errorf("its lease: %+v", l)
	}
	if n := s.sim.UserCount(); n != 1 {
		t.Errorf("AWS has %d users, not one", n)
	}
	fails("secret_not_found", "request", "build", "-i", "alice")
	fails("secret_not_found", "secret", "delete", "build")

	// A file's secret is the file's.
	fails("--secrets folder", "secret", "delete", "ci")
	write(strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: 2d", 1))
	fails("--secrets folder", "secret", "put", file, "--no-check")
	p.stop()
	p.logIsJSON()
}

// TestServeFollowsItsSecretFiles changes the folder under a broker.
func TestServeFollowsItsSecretFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p, x := s.serve("--project-id", "my-project")
	maxTTL := func() string { return x.reply(t, "secret", "get", "ci").Secret.Definition.MaxTTL.String() }
	s.define("ci.yaml", strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: 2d", 1))
	eventually(t, "the change is taken up", func() bool { return maxTTL() == "2d" })
	s.define("ci.yaml", strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: soon", 1))
	p.logs("a definition that is not used; mend the file; what was stored of it before stays in force")
	if got := maxTTL(); got != "2d" {
		t.Errorf("a bad definition has made it %s", got)
	}
	s.define("ci.yaml", strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: 3d", 1))
	p.signal(syscall.SIGHUP)
	p.logs("reading the definitions again")
	eventually(t, "it is mended", func() bool { return maxTTL() == "3d" })

	if err := os.Remove(filepath.Join(s.secrets, "ci.yaml")); err != nil {
		t.Fatal(err)
	}
	p.logs("a dynamic secret has no file any more; it stays in force until it is deleted (lessor secret delete)")
	x.reply(t, "request", "ci", "-i", "alice")
	x.ok(t, "secret", "delete", "ci")
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("AWS has %d users", n)
	}
	p.stop()
	p.logIsJSON()
}

// TestServeKeepsAnOperatorsKey puts the access key that the broker is to use, and
// looks for it in all that is left behind.
func TestServeKeepsAnOperatorsKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p, x := s.serve("--log-level", "debug")
	id, key := s.sim.AddPrincipal("owner")
	file := filepath.Join(t.TempDir(), "own.yaml")
	definition := strings.Replace(ciSecret, "name: ci", "name: own", 1) +
		"  auth: {method: access_key, access_key_id: " + id + ", secret_access_key: '" + key + "'}\n"
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	said := x.ok(t, "secret", "put", file) + x.ok(t, "secret", "get", "own") + x.ok(t, "secret", "get", "own", "--json") +
		x.ok(t, "secret", "list", "--json") + x.ok(t, "secret", "check", "own")
	lease := x.reply(t, "request", "own", "-i", "alice")
	x.reply(t, "revoke", lease.Lease.Name)
	events := x.ok(t, "events", "--no-follow", "--json")
	p.stop()
	if !strings.Contains(said, id) || foundIn([]byte(said+p.stderr.String()), key) {
		t.Errorf("the secret access key is shown:\n%s", said)
	}
	s.leaves(s.store, events, lease.Lease.AccessKeyID)
}
