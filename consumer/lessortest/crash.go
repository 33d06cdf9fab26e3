package lessortest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Crash ends a broker at one of its effects, as SIGKILL ends its process: from then on
// nothing that the broker does reaches NATS or AWS.
//
// An effect is a message that the broker publishes (to a stream, a bucket, a reply
// subject, or as an acknowledgement) or a call that changes something in AWS. Effects
// are counted on the wire, so a new kind of effect is counted, too.
//
// [World.CrashingBroker] starts the broker, [Crash.Arm] begins to count, and
// [Crash.Close] says that the crashed broker's goroutines have ended.
type Crash struct {
	// At is the number of the effect, from 1 on; 0 is never.
	At int
	// After says that the effect happens and the broker does not learn of it.
	// Otherwise it does not happen.
	After bool
	// Fail reports which of the broker's calls AWS answers with an error; nil is none.
	Fail func(iamsim.Call) bool
	// SignsWith reports that the broker signs calls with a key other than its own,
	// which other brokers may use after [Crash.Close]; nil is none.
	SignsWith func(keyID string) bool

	mu      sync.Mutex
	armed   bool
	crashed bool
	closed  bool
	effects []string
	conns   []net.Conn
}

// Arm begins to count effects.
func (c *Crash) Arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = true
}

// Crashed reports whether the broker was ended.
func (c *Crash) Crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashed
}

// Effects returns the effects so far, in order.
func (c *Crash) Effects() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.effects)
}

// Close says that the broker has ended: calls that are signed with a key of SignsWith
// are another broker's.
func (c *Crash) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// String describes where the broker is ended.
func (c *Crash) String() string {
	if c.After {
		return fmt.Sprintf("after effect %d", c.At)
	}
	return fmt.Sprintf("before effect %d", c.At)
}

// CrashingBroker starts a broker with an access key of its own, which c may end. It
// replaces the simulator's hook.
func (w *World) CrashingBroker(c *Crash, change ...func(*consumer.Config)) *Broker {
	w.T.Helper()
	keyID, secretKey := w.Sim.AddPrincipal("crashing")
	w.Sim.SetHook(c.hook(keyID))
	nc := w.Dial(0, nats.SetCustomDialer(c), nats.MaxReconnects(0))
	return w.BrokerOn(nc, append(change, func(cfg *consumer.Config) { cfg.Provider = w.Provider(keyID, secretKey) })...)
}

// effect counts an effect. It returns whether the effect happens, and whether the
// broker learns of it.
func (c *Crash) effect(what string) (happens, learned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		return false, false
	}
	if !c.armed {
		return true, true
	}
	c.effects = append(c.effects, what)
	if len(c.effects) != c.At {
		return true, true
	}
	c.crashed = true
	for _, conn := range c.conns {
		_ = conn.SetReadDeadline(time.Now()) // it receives nothing any more
	}
	return c.After, false
}

// Dial dials. It makes Crash a dialer of package nats.
func (c *Crash) Dial(network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		return nil, errCrashed
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, conn)
	return &crashConn{Conn: conn, crash: c}, nil
}

// crashConn is a NATS connection that ends at an effect.
type crashConn struct {
	net.Conn
	crash *Crash
	rest  []byte // of a frame that is not complete yet
}

var errCrashed = errors.New("the broker has crashed")

// Write passes on what the client writes, frame by frame.
func (c *crashConn) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	for {
		n, effect := parseFrame(c.rest)
		if n == 0 {
			return len(p), nil
		}
		happens, learned := true, true
		if effect != "" {
			happens, learned = c.crash.effect(effect)
		}
		if happens {
			if _, err := c.Conn.Write(c.rest[:n]); err != nil {
				return 0, err
			}
		}
		if !learned {
			// The server must have read what happened before the connection is closed.
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			return 0, errCrashed
		}
		c.rest = c.rest[n:]
	}
}

// hook is the hook of the simulator for the broker's calls.
func (c *Crash) hook(keyID string) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		if call.AccessKeyID != keyID && !c.signsWith(call.AccessKeyID) {
			return iamsim.Verdict{}
		}
		if strings.HasPrefix(call.Action, "Get") || strings.HasPrefix(call.Action, "List") {
			if c.Crashed() {
				return iamsim.Verdict{Do: iamsim.DropBefore}
			}
			return iamsim.Verdict{}
		}
		happens, learned := c.effect(call.Action)
		fails := c.Fail != nil && c.Fail(call)
		switch {
		case !happens, fails && !learned:
			return iamsim.Verdict{Do: iamsim.DropBefore}
		case fails:
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500}
		case !learned:
			return iamsim.Verdict{Do: iamsim.DropAfter}
		}
		return iamsim.Verdict{}
	}
}

func (c *Crash) signsWith(keyID string) bool {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	return !closed && c.SignsWith != nil && c.SignsWith(keyID)
}
