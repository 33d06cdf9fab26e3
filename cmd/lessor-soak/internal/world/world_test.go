package world

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// TestProcessThatEndsByItselfIsAViolation runs this test's program without a test as the
// child process.
func TestProcessThatEndsByItselfIsAViolation(t *testing.T) {
	t.Parallel()
	w := &World{Dir: t.TempDir(), tally: verdict.NewTally()}
	p := w.process("nats9", []string{"-test.run=^$"}, nil)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	err := poll.Until(t.Context(), 10*time.Millisecond, func() (bool, error) {
		return w.tally.Verdict(0, 0).Count(string(verdict.ProcessEnded)) == 1, nil
	})
	if err != nil {
		t.Error(err)
	}
}
