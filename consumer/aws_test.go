package consumer_test

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// nothingInAWS waits until the account has no users left.
func (w *world) nothingInAWS() {
	w.t.Helper()
	w.eventually("AWS holds nothing", func() bool { return w.sim.UserCount() == 0 })
}

// works says whether AWS accepts a delivered key for something, now.
func (w *world) works(creds *messages.Credentials) bool {
	w.t.Helper()
	allowed, err := w.sim.Allowed(creds.AccessKeyID, "s3:GetObject", "arn:aws:s3:::bucket/key")
	return err == nil && allowed
}

// denies has AWS refuse an action.
func (w *world) denies(action string) {
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
}

// gate is where a call to AWS is held up.
type gate struct{ there, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 64), make(chan struct{})} }

// pass is for the call.
func (g gate) pass(ctx context.Context) {
	g.there <- struct{}{}
	select {
	case <-g.open:
	case <-ctx.Done():
	}
}

// arrives waits until a call is held up.
func (w *world) arrives(what string, g gate) {
	w.t.Helper()
	select {
	case <-g.there:
	case <-time.After(patience):
		w.t.Fatalf("never: %s\n%s", what, w.logs)
	}
}

// stuckAt is a hook that holds up the calls of an action.
func stuckAt(g gate, action string) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			g.pass(ctx)
		}
		return iamsim.Verdict{}
	}
}

// ofItself says whether a call is about the managing user's own keys.
func ofItself(c iamsim.Call, action string) bool {
	return c.Action == action && c.Params.Get("UserName") == ""
}
