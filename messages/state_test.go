package messages_test

import (
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// states has every state and whether a lease has ended in it.
var states = map[messages.State]bool{
	messages.StateProvisioning: false, messages.StateActive: false, messages.StateRevoking: false,
	messages.StateRevoked: true, messages.StateFailed: true,
}

func TestStateEnded(t *testing.T) {
	for s, want := range states {
		if got := s.Ended(); got != want {
			t.Errorf("%s: got %v", s, got)
		}
	}
}

func TestOnlyKnownStatesAreValid(t *testing.T) {
	for s := range states {
		if !s.Valid() {
			t.Errorf("%s is not valid", s)
		}
	}
	for _, s := range []messages.State{"", "Active", "active ", "sleeping"} {
		if s.Valid() {
			t.Errorf("%q is valid", s)
		}
	}
}
