//go:build unix

package secretfile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// folderTest is a deployment whose definitions follow a folder, and the log of that.
type folderTest struct {
	*secretfile.Folder
	*clitest.Deployment
	t    *testing.T
	dir  string
	log  *clitest.Buffer
	read int // bytes of the log that were checked
}

func newFolderTest(t *testing.T, files map[string]string) *folderTest {
	t.Helper()
	f := &folderTest{t: t, Deployment: clitest.NewDeployment(t, clitest.Options{}), dir: t.TempDir(), log: &clitest.Buffer{}}
	f.Folder = f.newFolder()
	for name, text := range files {
		f.write(name, text)
	}
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *folderTest) newFolder() *secretfile.Folder {
	return secretfile.NewFolder(f.dir, f.Broker.Secrets(), zerolog.New(f.log))
}

// lease leases a secret to alice.
func (f *folderTest) lease(secret string) messages.Lease {
	f.t.Helper()
	issued, err := f.Client("alice").Request(f.t.Context(), secret, messages.LeaseRequest{})
	if err != nil {
		f.t.Fatal(err)
	}
	return issued.Lease
}

func (f *folderTest) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folderTest) remove(name string) {
	f.t.Helper()
	if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

// logs returns what was logged since the last call.
func (f *folderTest) logs() string {
	all := f.log.String()
	latest := all[f.read:]
	f.read = len(all)
	return latest
}

// after looks twice at the folder, and checks that one line with each of these texts is
// logged.
func (f *folderTest) after(what string, words ...string) {
	f.t.Helper()
	f.Look(f.t.Context(), false)
	f.Look(f.t.Context(), false)
	f.logged(what, words...)
}

// logged checks that one line with each of these texts was logged, and no other line.
func (f *folderTest) logged(what string, words ...string) {
	f.t.Helper()
	lines := f.logs()
	if strings.Count(lines, "\n") != len(words) {
		f.t.Errorf("%s: logged\n%swant %d lines", what, lines, len(words))
	}
	for _, w := range words {
		if !strings.Contains(lines, w) {
			f.t.Errorf("%s: %q is not logged:\n%s", what, w, lines)
		}
	}
}

// has checks the names of the definitions that come from files.
func (f *folderTest) has(what string, names ...string) {
	f.t.Helper()
	got, err := f.Broker.Secrets().NamesFrom(f.t.Context(), consumer.SourceFile)
	if err != nil || !slices.Equal(got, names) {
		f.t.Errorf("%s: the definitions from files are %q, %v; want %q", what, got, err, names)
	}
}

func TestFolderChangesAreStored(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\nmax_ttl: soon\n"})
	f.logged("at the start", `"secret":"a","changed":true`, "b.yaml")
	f.after("nothing has changed")

	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.Look(t.Context(), false)
	f.logged("a change seen once is not stored: the file may be half written")
	f.Look(t.Context(), false)
	f.logged("a change seen twice", `"secret":"a","changed":true`)
	f.write("b.yaml", "name: b\nhard_expiry: later\n")
	f.after("another error in the file", "hard_expiry")
	f.write("b.yaml", "name: b\naws: {path: nowhere}\n")
	f.after("an error that the provider finds", "aws.path")
	f.write("b.yaml", "name: b\ndefault_ttl: 30s\n")
	f.after("an error that the broker finds", "--min-ttl")
	f.after("an error is logged once")
	f.write("b.yaml", "name: b\n")
	f.after("the file is corrected", `"secret":"b","changed":true`)
	f.has("both", "a", "b")

	f.write("c.json", `{"name":"a"}`)
	f.after("two files define a secret", "none is used", "none is used")
	f.remove("a.yaml")
	f.after("one of the two is removed", `c.json","secret":"a","changed":true`)
	f.remove("b.yaml")
	f.after("the file is removed", "lessor secret delete")
	f.after("the removal is logged once")
	f.has("the file is removed", "a")
	f.write("b.yaml", "name: b\n")
	f.after("the file is there again", `"secret":"b","changed":true`)
	f.has("both again", "a", "b")
	f.remove("b.yaml")
	f.remove("c.json")
	f.after("the folder is empty", "no definitions", "lessor secret delete", "lessor secret delete")
	f.has("none")
	for _, name := range []string{"a", "b"} {
		f.lease(name) // they stay in force
	}
}

// TestUnreadableFileKeepsItsDefinition: the definition still comes from a file.
func TestUnreadableFileKeepsItsDefinition(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\n"})
	f.logs()
	f.write("a.yaml", "name: [a\n")
	f.after("a file is damaged", "a.yaml", "no readable file")
	f.has("a file is damaged", "a", "b")
	f.remove("b.yaml")
	f.after("a readable file is removed", "lessor secret delete")
	f.has("a readable file is removed", "a")
	f.write("a.yaml", "name: a\n")
	f.after("the file is corrected", `"secret":"a","changed":false`)

	// After a start it is not known which secret an unreadable file defines.
	f.write("a.yaml", "name: [a\n")
	again := f.newFolder()
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.has("started with an unreadable file", "a")
}

func TestFailureIsLoggedOnceAndRetried(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n"})
	f.logs()
	for range 2 {
		if err := os.Rename(f.dir, f.dir+".away"); err != nil {
			t.Fatal(err)
		}
		f.after("the folder is missing", "--secrets")
		f.after("still")
		if err := os.Rename(f.dir+".away", f.dir); err != nil {
			t.Fatal(err)
		}
		f.after("the folder is there again, unchanged")
	}
	f.has("the folder is there again", "a")

	f.StopNATS()
	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.after("NATS is away", "could not be stored; trying again", "list the dynamic secrets")
	f.after("still")
	f.StartNATS()
	clitest.Eventually(t, "NATS is back", func() bool { return f.Broker.Ready(t.Context()) == nil })
	f.after("NATS is back", `"secret":"a","changed":true`)
	f.has("NATS is back", "a")
}

// TestUnavailableNATSIsLoggedOnce: NATS has several errors for being unavailable, and they
// follow each other when it stops.
func TestUnavailableNATSIsLoggedOnce(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n"})
	f.logs()
	js, err := jetstream.New(clitest.Connect(t, f.URL()))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), messages.Namespace{}.SecretBucket()); err != nil {
		t.Fatal(err)
	}
	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.after("the bucket is deleted", "could not be stored; trying again", "list the dynamic secrets")
	f.StopNATS()
	f.after("NATS is stopped, too")
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.after("the folder is removed, too", "--secrets")
	f.StartNATS() // so that the broker can stop
}

// TestFileWaitsForADeletion: a definition that is being deleted is not replaced before it
// and its leases are gone.
func TestFileWaitsForADeletion(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\n"})
	f.logs()
	lease := f.lease("a")
	f.remove("a.yaml")
	f.after("the file is removed", "the file of a dynamic secret was removed")
	f.Deny("DeleteUser")
	if d, err := f.Admin().DeleteSecret(t.Context(), "a", false); err != nil || d.Done || d.Leases != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.write("b.yaml", "name: b\nmax_ttl: 2h\n")
	f.after("it is being deleted", "could not be stored; trying again", `"secret":"b","changed":true`)
	f.after("still")
	f.has("it is being deleted", "b")
	f.Sim.SetHook(nil)
	if _, err := f.Client("alice").Revoke(t.Context(), lease.Name, ""); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a is deleted", func() bool {
		_, err := f.Admin().Secret(t.Context(), "a")
		return messages.IsCode(err, messages.CodeSecretNotFound)
	})
	f.after("the secret is deleted", `"secret":"a","changed":true`)
	f.has("the secret is deleted", "a", "b")
	f.lease("a")
}

// TestReplacedLinksAreChanges changes files as Kubernetes does: they are links into a
// folder that is itself a link, which is replaced.
func TestReplacedLinksAreChanges(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, nil)
	f.logs()
	version := func(name, text string) {
		t.Helper()
		dir := filepath.Join(f.dir, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600),
			os.Symlink(name, filepath.Join(f.dir, "..tmp")), os.Rename(filepath.Join(f.dir, "..tmp"), filepath.Join(f.dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", "name: a\n")
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), filepath.Join(f.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	f.after("the first version", `"secret":"a","changed":true`)
	version("..2", "name: a\nmax_ttl: 2h\n")
	f.after("the second version", `"secret":"a","changed":true`)
	f.has("the second version", "a")
}

func TestHangupStoresAndLogsEverything(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: [b\n"})
	f.logs()
	ctx, cancel := context.WithCancel(t.Context())
	looks, hangups, ended := make(chan time.Time), make(chan os.Signal), make(chan struct{})
	go func() {
		defer close(ended)
		f.Follow(ctx, looks, hangups)
	}()
	hangups <- syscall.SIGHUP
	looks <- time.Now() // received after the hangup is handled
	f.logged("a hangup without changes", "reading the definitions again", `"secret":"a","changed":false`, "b.yaml")
	f.write("c.yaml", "name: c\n")
	hangups <- syscall.SIGHUP
	looks <- time.Now()
	f.logged("a new file is stored at once", "reading", `"secret":"a"`, "b.yaml", `"secret":"c","changed":true`)
	f.write("c.yaml", "name: c\nmax_ttl: 2h\n")
	for range 4 { // the first look may have been before the change; the last is received after the others
		looks <- time.Now()
	}
	f.logged("a change", `"secret":"c","changed":true`)
	cancel()
	<-ended
}
