//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// TestSecretCommandsWithABroker puts, changes, checks, leases and deletes a dynamic secret.
func TestSecretCommandsWithABroker(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	p, x := s.serve()
	fails := func(text string, args ...string) {
		t.Helper()
		if stdout, stderr, code := x.Run(t.Context(), args...); code != cli.ExitFailed || !strings.Contains(stderr, text) {
			t.Errorf("lessor %s: exit code %d, want %q:\n%s%s", strings.Join(args, " "), code, text, stdout, stderr)
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

	// A definition whose check fails is not stored.
	write(strings.Replace(build, "groups: [deployers]", "groups: [nobody]", 1))
	fails("check_failed", "secret", "put", file)
	fails("lessor secret list", "secret", "get", "build")
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("the check has left %d users", n)
	}

	write(build)
	put := x.Reply(t, "secret", "put", file, "--revision", "0")
	if put.Secret == nil || !put.Secret.Changed || put.Check == nil || !put.Check.OK || len(put.Check.Calls) == 0 {
		t.Fatalf("put: %+v", put)
	}
	if again := x.Reply(t, "secret", "put", file, "--no-check"); again.Secret.Changed || again.Secret.Revision != put.Secret.Revision {
		t.Errorf("put again: %+v", again.Secret)
	}
	fails("revision_mismatch", "secret", "put", file, "--revision", "0")
	if list := x.OK(t, "secret", "list"); !strings.Contains(list, "build") || !strings.Contains(list, "file") {
		t.Errorf("list:\n%s", list)
	}

	// The output of get can be put.
	shown := x.OK(t, "secret", "get", "build")
	write(strings.Replace(shown, "max_ttl: 1d", "max_ttl: 2d", 1))
	changed := x.Reply(t, "secret", "put", file)
	if got := changed.Secret.Definition.MaxTTL.String(); !changed.Secret.Changed || changed.Secret.Revision == put.Secret.Revision || got != "2d" {
		t.Errorf("changed: %+v", changed.Secret)
	}
	if table := x.OK(t, "secret", "check", "build"); !strings.Contains(table, "CreateUser") || strings.Contains(table, "denied") {
		t.Errorf("check:\n%s", table)
	}
	if policy := x.OK(t, "policy", "build"); !strings.Contains(policy, ":user/lessor/build/*") {
		t.Errorf("policy:\n%s", policy)
	}

	lease := x.Reply(t, "request", "build", "-i", "alice")
	x.Reply(t, "request", "ci", "-i", "alice")
	if printed := x.OK(t, "secret", "delete", "build"); printed != "build is deleted\n" {
		t.Errorf("delete: %s", printed)
	}
	if l := x.Reply(t, "show", lease.Lease.Name).Lease; l.State != messages.StateRevoked || l.Reason != messages.ReasonSecretDeleted {
		t.Errorf("its lease: %+v", l)
	}
	if n := s.sim.UserCount(); n != 1 {
		t.Errorf("AWS has %d users, not one", n)
	}
	fails("secret_not_found", "request", "build", "-i", "alice")
	fails("secret_not_found", "secret", "delete", "build")

	// A secret from a file can't be changed by a command.
	fails("--secrets folder", "secret", "delete", "ci")
	write(strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: 2d", 1))
	fails("--secrets folder", "secret", "put", file, "--no-check")
	p.Stop()
	p.LogIsJSON()
}

// TestServeFollowsItsSecretFiles changes the files of a running broker.
func TestServeFollowsItsSecretFiles(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	p, x := s.serve("--project-id", "my-project")
	maxTTL := func() string { return x.Reply(t, "secret", "get", "ci").Secret.Definition.MaxTTL.String() }
	ciWith := func(maxTTL string) string { return strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: "+maxTTL, 1) }
	s.define("ci.yaml", ciWith("2d"))
	clitest.Eventually(t, "the change is in force", func() bool { return maxTTL() == "2d" })
	const unusable = "a definition that is not used; correct the file; the definition stored before stays in force"
	s.define("ci.yaml", ciWith("soon"))
	s.define("other.yaml", "name: other\n")
	p.Logs(unusable)
	clitest.Eventually(t, "another file is stored beside the wrong one", func() bool {
		_, _, code := x.Run(t.Context(), "secret", "get", "other")
		return code == cli.ExitOK
	})
	if got := maxTTL(); got != "2d" {
		t.Errorf("a wrong definition has changed it to %s", got)
	}
	// By now the folder has been read several times.
	if n := strings.Count(p.Stderr.String(), unusable); n != 1 {
		t.Errorf("the wrong definition is logged %d times", n)
	}
	s.define("ci.yaml", ciWith("3d"))
	p.Signal(syscall.SIGHUP)
	p.Logs("reading the definitions again")
	clitest.Eventually(t, "the corrected file is in force", func() bool { return maxTTL() == "3d" })

	if err := os.Remove(filepath.Join(s.secrets, "ci.yaml")); err != nil {
		t.Fatal(err)
	}
	p.Logs("the file of a dynamic secret was removed; the definition stays in force until it is deleted (lessor secret delete)")
	x.Reply(t, "request", "ci", "-i", "alice")
	x.OK(t, "secret", "delete", "ci")
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("AWS has %d users", n)
	}
	p.Stop()
	p.LogIsJSON()
}

// TestServeNeverShowsAnOperatorsKey puts an access key for the broker, rotates it while a
// lease is live, and searches all output for it.
func TestServeNeverShowsAnOperatorsKey(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	p, x := s.serve("--log-level", "debug")
	id, key := s.sim.AddPrincipal("owner")
	definition := strings.Replace(ciSecret, "name: ci", "name: own", 1) +
		"  auth: {method: access_key, access_key_id: " + id + ", secret_access_key: '" + key + "'}\n"
	printed := x.OK(t, "secret", "put", definitionFile(t, definition)) + x.OK(t, "secret", "get", "own", "--json") +
		x.OK(t, "secret", "list", "--json") + x.OK(t, "secret", "check", "own")
	lease := x.Reply(t, "request", "own", "-i", "alice")

	// The output of get has no secret key, and can be put all the same.
	shown := x.OK(t, "secret", "get", "own")
	again := x.Reply(t, "secret", "put", definitionFile(t, shown), "--revision", "2")
	if again.Secret.Changed {
		t.Errorf("a put of the output has changed the secret: %+v", again.Secret)
	}
	x.OK(t, "secret", "put", definitionFile(t, strings.Replace(shown, "max_ttl: 1d", "max_ttl: 2d", 1)))

	rotated := x.OK(t, "secret", "rotate-key", "own")
	owner, _ := s.sim.User("owner")
	if len(owner.AccessKeys) != 1 || owner.AccessKeys[0].ID == id || !strings.Contains(rotated, owner.AccessKeys[0].ID) {
		t.Errorf("AWS has the keys %+v; it prints\n%s", owner.AccessKeys, rotated)
	}
	x.OK(t, "renew", lease.Lease.Name, "--ttl", "2h")
	x.OK(t, "revoke", lease.Lease.Name)
	s.sim.ResetCalls()
	next := x.Reply(t, "request", "own", "-i", "alice")
	if by := s.creator(next.Credentials.Username); by != owner.AccessKeys[0].ID {
		t.Errorf("after the rotation the user is created with the key %s", by)
	}
	shown += x.OK(t, "secret", "get", "own")
	events := x.OK(t, "events", "--no-follow", "--json")
	p.Stop()
	printed += shown + rotated
	if !strings.Contains(printed, id) || leak.Contains([]byte(printed+p.Stderr.String()), key) {
		t.Errorf("the secret access key is shown:\n%s", printed)
	}
	for _, secret := range s.sim.IssuedSecrets() {
		if leak.Contains([]byte(printed), secret) {
			t.Error("a secret access key that AWS has issued is shown")
		}
	}
	s.searchAll(s.store, events, lease.Lease.AccessKeyID)
}

// creator returns the id of the key with which a user was created.
func (s *processes) creator(user string) string {
	s.t.Helper()
	for _, c := range s.sim.Calls() {
		if c.Action == "CreateUser" && c.User == user && c.Code == "" {
			return c.AccessKeyID
		}
	}
	s.t.Fatalf("%s was not created", user)
	return ""
}

// TestReplicasUseAPutWithinASecond runs two brokers at one NATS server. Both use a stored
// definition within a second.
func TestReplicasUseAPutWithinASecond(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	server, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	x := at(server.URL())
	args := []string{"serve", "--server", server.URL(), "--key-file", newKeyFile(t)}
	one, two := s.principal("one"), s.principal("two")
	for _, as := range []map[string]string{one, two} {
		s.start(as, args...).Logs("broker is up")
	}
	put := func(path string) time.Time {
		x.OK(t, "secret", "put", definitionFile(t, "name: ci\naws: {path: "+path+"}\n"), "--no-check")
		return time.Now()
	}
	alice, err := client.New(x.Connect(t), client.Options{Identity: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	// both requests leases until each broker has created a user with this path.
	both := func(path string) {
		t.Helper()
		clitest.Eventually(t, "both brokers create users with the path "+path, func() bool {
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					if _, err := alice.Request(t.Context(), "ci", messages.LeaseRequest{}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			creators := map[string]bool{}
			for _, c := range s.sim.Calls() {
				if c.Action == "CreateUser" && c.Params.Get("Path") == path {
					creators[c.AccessKeyID] = true
				}
			}
			return len(creators) == 2
		})
	}
	put("/before/")
	both("/before/")
	stored := put("/after/")
	both("/after/")
	for _, c := range s.sim.Calls() {
		if late := c.Arrived.Sub(stored); c.Action == "CreateUser" && c.Params.Get("Path") == "/before/" && late > time.Second {
			t.Errorf("%s after the put a broker uses the definition before", late)
		}
	}
}
