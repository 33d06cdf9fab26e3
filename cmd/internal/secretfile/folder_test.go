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

// folderTest is a folder that a broker follows, and what is logged about it.
type folderTest struct {
	*secretfile.Folder
	*clitest.Deployment
	t    *testing.T
	dir  string
	log  *clitest.Buffer
	read int // of the log
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

// logs returns what was logged since it was asked last.
func (f *folderTest) logs() string {
	all := f.log.String()
	news := all[f.read:]
	f.read = len(all)
	return news
}

// after looks twice, and checks that these words are logged, one line each.
func (f *folderTest) after(what string, words ...string) {
	f.t.Helper()
	f.Look(f.t.Context(), false)
	f.Look(f.t.Context(), false)
	f.logged(what, words...)
}

func (f *folderTest) logged(what string, words ...string) {
	f.t.Helper()
	news := f.logs()
	if strings.Count(news, "\n") != len(words) {
		f.t.Errorf("%s: logged\n%swant %d lines", what, news, len(words))
	}
	for _, w := range words {
		if !strings.Contains(news, w) {
			f.t.Errorf("%s: %q is not logged:\n%s", what, w, news)
		}
	}
}

func (f *folderTest) has(what string, names ...string) {
	f.t.Helper()
	got, err := f.Broker.Secrets().NamesFrom(f.t.Context(), consumer.SourceFile)
	if err != nil || !slices.Equal(got, names) {
		f.t.Errorf("%s: from files are %q, %v; want %q", what, got, err, names)
	}
}

func TestTheFolderIsFollowed(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\nmax_ttl: soon\n"})
	f.logged("at the start", `"secret":"a","changed":true`, "b.yaml")
	f.after("nothing has changed")

	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.Look(t.Context(), false)
	f.logged("seen for the first time: it may be half written")
	f.Look(t.Context(), false)
	f.logged("seen twice", `"secret":"a","changed":true`)
	f.write("b.yaml", "name: b\nhard_expiry: later\n")
	f.after("another mistake", "hard_expiry")
	f.write("b.yaml", "name: b\naws: {path: nowhere}\n")
	f.after("a mistake that only the provider sees", "aws.path")
	f.write("b.yaml", "name: b\ndefault_ttl: 30s\n")
	f.after("a mistake that only the broker sees", "--min-ttl")
	f.after("a mistake is told once")
	f.write("b.yaml", "name: b\n")
	f.after("mended", `"secret":"b","changed":true`)
	f.has("both", "a", "b")

	f.write("c.json", `{"name":"a"}`)
	f.after("a name that is taken", "none of them counts", "none of them counts")
	f.remove("a.yaml")
	f.after("and free", `c.json","secret":"a","changed":true`)
	f.remove("b.yaml")
	f.after("its file has gone", "lessor secret delete")
	f.after("that is told once")
	f.has("the one that is left", "a")
	f.write("b.yaml", "name: b\n")
	f.after("it is back, and a file's again", `"secret":"b","changed":true`)
	f.has("both again", "a", "b")
	f.remove("b.yaml")
	f.remove("c.json")
	f.after("empty", "no definitions", "lessor secret delete", "lessor secret delete")
	f.has("none")
	for _, name := range []string{"a", "b"} {
		f.lease(name) // they stay in force
	}
}

// TestAFileThatCantBeReadIsNotGone: what it defined stays a file's.
func TestAFileThatCantBeReadIsNotGone(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\n"})
	f.logs()
	f.write("a.yaml", "name: [a\n")
	f.after("damaged", "a.yaml", "no file that can be used")
	f.has("damaged", "a", "b")
	f.remove("b.yaml")
	f.after("another has gone for sure", "lessor secret delete")
	f.has("another has gone for sure", "a")
	f.write("a.yaml", "name: a\n")
	f.after("mended", `"secret":"a","changed":false`)

	// One who starts with a file that can't be read does not know whose it is.
	f.write("a.yaml", "name: [a\n")
	again := f.newFolder()
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.has("after a start", "a")
}

func TestTroubleIsToldOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n"})
	f.logs()
	for range 2 {
		if err := os.Rename(f.dir, f.dir+".away"); err != nil {
			t.Fatal(err)
		}
		f.after("the folder has gone", "--secrets")
		f.after("still")
		if err := os.Rename(f.dir+".away", f.dir); err != nil {
			t.Fatal(err)
		}
		f.after("it is back, as it was")
	}
	f.has("it is back", "a")

	f.StopNATS()
	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.after("NATS is away", "could not be stored; trying again", "list the dynamic secrets")
	f.after("still")
	f.StartNATS()
	clitest.Eventually(t, "NATS is back", func() bool { return f.Broker.Ready(t.Context()) == nil })
	f.after("NATS is back", `"secret":"a","changed":true`)
	f.has("NATS is back", "a")
}

// TestPassingTroubleIsToldOnce: NATS has many words for not being there, and says
// one after the other as it goes away.
func TestPassingTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n"})
	f.logs()
	js, err := jetstream.New(clitest.Connect(t, f.Server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), messages.Namespace{}.SecretBucket()); err != nil {
		t.Fatal(err)
	}
	f.write("a.yaml", "name: a\nmax_ttl: 2h\n")
	f.after("the bucket has gone", "could not be stored; trying again", "list the dynamic secrets")
	f.StopNATS()
	f.after("NATS has gone, too")
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.after("the folder has gone, too", "--secrets")
	f.StartNATS() // for a quick end
}

// TestAFileWaitsForADeletion: the definition of that name that there was goes
// first, and its leases before it.
func TestAFileWaitsForADeletion(t *testing.T) {
	t.Parallel()
	f := newFolderTest(t, map[string]string{"a.yaml": "name: a\n", "b.yaml": "name: b\n"})
	f.logs()
	lease := f.lease("a")
	f.remove("a.yaml")
	f.after("its file has gone", "no file any more")
	f.Refuse("DeleteUser")
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
	f.after("it is gone", `"secret":"a","changed":true`)
	f.has("it is gone", "a", "b")
	f.lease("a")
}

// TestLinksAreFollowed changes files as Kubernetes does: they are links into a
// folder that is a link, which is put in place at once.
func TestLinksAreFollowed(t *testing.T) {
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
	f.after("the first", `"secret":"a","changed":true`)
	version("..2", "name: a\nmax_ttl: 2h\n")
	f.after("the second", `"secret":"a","changed":true`)
	f.has("the second", "a")
}

func TestHangup(t *testing.T) {
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
	looks <- time.Now() // taken when the hangup is done with
	f.logged("a hangup with nothing new", "reading the definitions again", `"secret":"a","changed":false`, "b.yaml")
	f.write("c.yaml", "name: c\n")
	hangups <- syscall.SIGHUP
	looks <- time.Now()
	f.logged("what is new is taken at once", "reading", `"secret":"a"`, "b.yaml", `"secret":"c","changed":true`)
	f.write("c.yaml", "name: c\nmax_ttl: 2h\n")
	for range 4 { // the first may have looked before, and the last is taken when the others are done
		looks <- time.Now()
	}
	f.logged("a change is seen", `"secret":"c","changed":true`)
	cancel()
	<-ended
}
