package lessortest

import (
	"context"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// WaitNoUsers waits until the account has no IAM user beside the managing ones.
func (w *World) WaitNoUsers() {
	w.T.Helper()
	w.Eventually("the account has no users", func() bool { return w.Sim.UserCount() == 0 })
}

// Works reports whether AWS allows something to a delivered key, now.
func (w *World) Works(c *messages.Credentials) bool {
	w.T.Helper()
	allowed, err := w.Sim.Allowed(c.AccessKeyID, "s3:GetObject", "arn:aws:s3:::bucket/key")
	return err == nil && allowed
}

// Deny makes AWS deny an action from now on. It replaces the simulator's hook.
func (w *World) Deny(action string) { w.Sim.SetHook(Refuse(action, 403, "AccessDenied")) }

// Refuse is a hook that answers an action with an error.
func Refuse(action string, status int, code string) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			return iamsim.Verdict{Do: iamsim.Fail, Status: status, Code: code}
		}
		return iamsim.Verdict{}
	}
}

// Gate is a place where calls to AWS, or other operations, wait until the test lets
// them go on. [NewGate] makes one, which is closed.
type Gate struct{ arrived, open chan struct{} }

// NewGate returns a closed gate.
func NewGate() Gate { return Gate{make(chan struct{}, 64), make(chan struct{})} }

// Pass waits until the gate is open or ctx ends. The operation that is to wait calls
// it.
func (g Gate) Pass(ctx context.Context) {
	select {
	case g.arrived <- struct{}{}:
	default: // enough have arrived for any test to see
	}
	select {
	case <-g.open:
	case <-ctx.Done():
	}
}

// Open lets all go on that wait, and all that come. It must be called once at most.
func (g Gate) Open() { close(g.open) }

// Hook is a hook of the simulator in which the calls of an action pass the gate.
func (g Gate) Hook(action string) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			g.Pass(ctx)
		}
		return iamsim.Verdict{}
	}
}

// WaitArrival waits until an operation has arrived at the gate, once for each
// operation. what says which one is expected.
func (g Gate) WaitArrival(t testing.TB, what string) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(Patience):
		t.Fatalf("did not happen within %s: %s", Patience, what)
	}
}
