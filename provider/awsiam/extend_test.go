package awsiam

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestExtendMovesTheDeny(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]iamsim.Verdict{
		"straight":      {},
		"conflict":      refuse(409, "ConcurrentModification"),
		"unmodifiable":  refuse(409, "EntityTemporarilyUnmodifiable"),
		"dropped after": {Do: iamsim.DropAfter},
		"empty":         {Do: iamsim.Empty},
		"throttled":     {Do: iamsim.Throttle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.create()
			b.ResetCalls()
			b.SetHook(on("PutUserPolicy", 1, v))
			at := time.Now().Add(2 * time.Hour)
			if err := b.account.Extend(t.Context(), lease().User, at); err != nil {
				t.Fatal(err)
			}
			want, err := definition.Compose(lease().User.InlinePolicy, at)
			if u, _ := b.User(userName); err != nil || u.InlinePolicies[definition.PolicyName] != want {
				t.Errorf("the policies are %v", u.InlinePolicies)
			}
			if b.count("PutUserPolicy") != len(b.Calls()) {
				t.Errorf("the calls are %v", b.actions())
			}
		})
	}
}

func TestExtendRejectsMissingUsersAndZeroDates(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	expectError(t, b.account.Extend(t.Context(), lease().User, time.Now()), provider.Rejected, "")
	b.create()
	expectError(t, b.account.Extend(t.Context(), lease().User, time.Time{}), provider.Rejected, "")
	b.SetHook(on("PutUserPolicy", -1, refuse(409, "ConcurrentModification")))
	expectError(t, b.account.Extend(t.Context(), lease().User, time.Now()), provider.Unavailable, "")
}

func TestProbeUsesTheGivenKey(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetFaults(iamsim.Faults{VisibleAfter: time.Hour})
	c := b.create()
	expectError(t, b.account.Probe(t.Context(), c), provider.NotVisible, "")
	b.SetFaults(iamsim.Faults{})
	if err := b.account.Probe(t.Context(), c); err != nil {
		t.Error(err)
	}
	if calls := b.Calls(); calls[len(calls)-1].AccessKeyID != c.AccessKeyID {
		t.Errorf("the call was signed with the key %s", calls[len(calls)-1].AccessKeyID)
	}
}

func TestProbeRejectsAWrongSecret(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	c.SecretAccessKey = messages.NewSensitive("wrong")
	expectError(t, b.account.Probe(t.Context(), c), provider.Unavailable, "")
}
