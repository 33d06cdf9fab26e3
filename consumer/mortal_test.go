package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// mortal counts the effects that one broker has on the world, and can end the
// broker at any of them as kill -9 would: from then on nothing that it does
// reaches anybody.
//
// An effect is a message that it publishes (to a stream, a bucket, a reply
// subject, an acknowledgement) or a call that changes something in AWS. They are
// seen on the wire, so none can be forgotten here: what the broker learns to do
// tomorrow is an effect too.
type mortal struct {
	mu      sync.Mutex
	armed   bool
	killAt  int                    // the number of the effect, from 1; 0: never
	refuse  func(iamsim.Call) bool // calls that AWS fails to carry out; nil: none
	after   bool                   // the effect happens, but the broker does not hear of it
	dead    bool
	buried  bool // nothing of it is under way any more
	effects []string
	conns   []net.Conn
}

func newMortal(killAt int, after bool) *mortal {
	return &mortal{killAt: killAt, after: after}
}

// arm begins to count.
func (m *mortal) arm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = true
}

// effect counts one. It says whether it happens, and whether the broker hears of
// it.
func (m *mortal) effect(what string) (happens, heard bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false, false
	}
	if !m.armed {
		return true, true
	}
	m.effects = append(m.effects, what)
	if len(m.effects) != m.killAt {
		return true, true
	}
	m.dead = true
	for _, c := range m.conns {
		_ = c.(*mortalConn).Conn.(*net.TCPConn).SetReadDeadline(time.Now())
	}
	return m.after, false
}

// bury says that nothing of the dead broker is under way any more: what is signed
// with a key that it shares with others is theirs.
func (m *mortal) bury() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buried = true
}

func (m *mortal) isBuried() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buried
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

func (m *mortal) seen() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.effects...)
}

// Dial makes mortal the dialer of a NATS connection.
func (m *mortal) Dial(network, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errors.New("dead")
	}
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	mc := &mortalConn{Conn: c, m: m}
	m.conns = append(m.conns, mc)
	return mc, nil
}

// mortalConn is a NATS connection that stops at an effect.
type mortalConn struct {
	net.Conn
	m    *mortal
	rest []byte // of a frame that is not complete
}

var errDead = errors.New("the broker is dead")

// Write passes on what the client says, frame by frame.
func (c *mortalConn) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	for {
		n, what := frame(c.rest)
		if n == 0 {
			return len(p), nil
		}
		happens, heard := true, true
		if what != "" {
			happens, heard = c.m.effect(what)
		}
		if happens {
			if _, err := c.Conn.Write(c.rest[:n]); err != nil {
				return 0, err
			}
		}
		if !heard {
			// The server must have read what happened before the connection goes.
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			return 0, errDead
		}
		c.rest = c.rest[n:]
	}
}

// frame measures the first complete frame of the NATS client protocol, and says
// which effect it is, if any.
func frame(b []byte) (size int, effect string) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0, ""
	}
	size = end + 2
	words := strings.Fields(string(b[:end]))
	if len(words) == 0 || (words[0] != "PUB" && words[0] != "HPUB") {
		return size, ""
	}
	payload, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		panic("a frame that is none: " + string(b[:end]))
	}
	head := size
	if size += payload + 2; len(b) < size {
		return 0, ""
	}
	subject := words[1]
	if strings.HasPrefix(subject, "$JS.API.") || bytes.Equal(b[head:size-2], []byte("+WPI")) {
		return size, "" // a question, or a sign of life
	}
	if strings.HasPrefix(subject, "$JS.ACK.") {
		subject = "$JS.ACK." + strings.Split(subject, ".")[2] + " " + strings.Fields(string(b[head : size-2]))[0]
	}
	return size, subject
}

// aws is the hook that makes a broker's calls to AWS mortal: those that are signed
// with its own key, and, until it is buried, those of the users whose keys
// definitions have.
func (m *mortal) aws(keyID string, shared func(string) bool) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID && (m.isBuried() || !shared(c.AccessKeyID)) {
			return iamsim.Verdict{}
		}
		for _, read := range []string{"Get", "List"} {
			if strings.HasPrefix(c.Action, read) {
				m.mu.Lock()
				defer m.mu.Unlock()
				if m.dead {
					return iamsim.Verdict{Do: iamsim.DropBefore}
				}
				return iamsim.Verdict{}
			}
		}
		happens, heard := m.effect(c.Action)
		refused := m.refuse != nil && m.refuse(c)
		switch {
		case !happens, refused && !heard:
			return iamsim.Verdict{Do: iamsim.DropBefore}
		case refused:
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500}
		case !heard:
			return iamsim.Verdict{Do: iamsim.DropAfter}
		}
		return iamsim.Verdict{}
	}
}

// mortalBroker starts a broker whose life m holds.
func (w *world) mortalBroker(m *mortal, change ...func(*consumer.Config)) *broker {
	w.t.Helper()
	keyID, secret := w.sim.AddPrincipal("mortal")
	w.sim.SetHook(m.aws(keyID, func(id string) bool { return w.shared != nil && w.shared(id) }))
	nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(m), nats.MaxReconnects(0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	w.ok(err)
	w.t.Cleanup(nc.Close)
	change = append(change, func(c *consumer.Config) {
		c.Provider = awsiam.New(awsiam.Options{
			Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
			Backoff: func(int) time.Duration { return 5 * time.Millisecond },
		})
	})
	b, err := w.tryBroker(nc, change...)
	w.ok(err)
	return b
}

func (m *mortal) String() string {
	when := "before"
	if m.after {
		when = "after"
	}
	return fmt.Sprintf("dies %s effect %d", when, m.killAt)
}
