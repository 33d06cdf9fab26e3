//go:build linux

package consumer_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// Environment variables that make the test binary a NATS server.
const (
	nodeStore  = "LESSOR_TEST_NODE_STORE"
	nodeListen = "LESSOR_TEST_NODE_LISTEN"
)

// TestHelperNATSServer is not a test but the NATS server of one, in a process of its own.
// With the line "full" on its input it can't write to its files any more; it ends with its
// input.
func TestHelperNATSServer(t *testing.T) {
	if os.Getenv(nodeStore) == "" {
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	s, err := embedded.Start(embedded.Options{StoreDir: os.Getenv(nodeStore), Listen: os.Getenv(nodeListen), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fmt.Println("\nurl " + s.URL())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1, Max: ^uint64(0)}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("\nfull")
	}
}

// node is a NATS server in a process of its own.
type node struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (w *world) startNode(listen string) (n *node, url string) {
	w.T.Helper()
	self, err := os.Executable()
	w.NoError(err)
	n = &node{cmd: exec.Command(self, "-test.run", "^TestHelperNATSServer$")}
	n.cmd.Env = append(os.Environ(), nodeStore+"="+w.Dir, nodeListen+"="+listen)
	n.in, err = n.cmd.StdinPipe()
	w.NoError(err)
	out, err := n.cmd.StdoutPipe()
	w.NoError(err)
	n.out = bufio.NewScanner(out)
	w.NoError(n.cmd.Start())
	w.T.Cleanup(n.kill)
	return n, strings.TrimPrefix(n.line(w.T, "url "), "url ")
}

// line waits for a line of output with this prefix.
func (n *node) line(t testing.TB, begins string) string {
	t.Helper()
	for n.out.Scan() {
		if strings.HasPrefix(n.out.Text(), begins) {
			return n.out.Text()
		}
	}
	t.Fatalf("the NATS server does not print %q", begins)
	return ""
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may have ended
	_ = n.cmd.Wait()
}

// TestFullDiskMakesNoLeases has the kernel refuse every write of the NATS server, by a
// limit on the size of files. The server handles that like a disk without space, except
// that the error is another ("file too large"). It answers no write until it is started
// again, also if there is room; reads are answered.
func TestFullDiskMakesNoLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.StopNATS()
	n, url := w.startNode("127.0.0.1:0")
	w.Use(w.DialURL(url, lessortest.Reconnecting(nats.ReconnectBufSize(nats.DefaultReconnectBufSize))...))
	b := w.BrokerOn(w.DialURL(url, lessortest.Reconnecting()...), quickMaintenance)
	w.Put(b, lessortest.Secret)
	due, lives := w.Lease("ci", `{"ttl":"10m"}`), w.Lease("ci", `{"ttl":"3h"}`)
	w.WaitQueuesEmpty()
	w.Eventually("the reserve is filled", func() bool { return w.hasReserve() })
	made := w.createdUsers()
	_, err := io.WriteString(n.in, "full\n")
	w.NoError(err)
	n.line(t, "full")
	if r, err := w.callAPI(w.Namespace.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("a request to a full disk: %+v %v %v", r, r.Error, err)
	}
	if w.Logs.Count("the event of a refusal") > 0 {
		t.Error("the requester has waited for an event that can't be written")
	}
	w.WaitHealth(b, "it can't write to its disk")
	w.Clock.Advance(15 * time.Minute)
	if w.Works(due.Credentials) || !w.Works(lives.Credentials) {
		t.Error("AWS does not enforce the leases' ends while the disk is full")
	}
	if w.createdUsers() != made || w.Sim.UserCount() != 2 {
		t.Errorf("%d users were made and %d exist while the disk is full", w.createdUsers()-made, w.Sim.UserCount())
	}

	n.kill()
	w.startNode(strings.TrimPrefix(url, "nats://")) // on a disk with room
	w.Eventually("the expired lease has ended", func() bool { return w.Sim.UserCount() == 1 })
	w.WaitHealth(b, "")
	w.WantActive(lives)
	w.wantNoOrphans()
	if n := w.Logs.Count("JetStream fails"); n > 8 {
		t.Errorf("%d log lines about one problem", n)
	}
}
