package record_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestEndDropsTheCredentials(t *testing.T) {
	delivered := must(inState(messages.StateActive).Deliver(noon, timing))
	at := noon.Add(time.Minute)
	got := must(delivered.End(messages.ReasonOperator, "leaked", at, timing))
	want := delivered
	want.State, want.Reason, want.Note, want.Sealed, want.ConfirmBy = messages.StateRevoking, messages.ReasonOperator, "leaked", nil, time.Time{}
	want.Due = at.Add(30 * time.Second)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestFailKeepsTheFailureAndWhatTeardownNeeds(t *testing.T) {
	failure := messages.Errorf(messages.CodeProviderRejected, "no such policy")
	begun := inState(messages.StateProvisioning)
	ending := must(begun.Fail(failure, false, noon, timing))
	if ending.State != messages.StateRevoking || ending.Failure != failure || ending.Reason != messages.ReasonFailed {
		t.Errorf("a user may be left, and the lease is %s", ending.State)
	}
	if !reflect.DeepEqual(ending.User, begun.User) || ending.Connection != begun.Connection {
		t.Error("the record has lost what teardown needs")
	}
	ended := must(ending.Ended(noon))
	atOnce := must(begun.Fail(failure, true, noon, timing))
	if atOnce.State != messages.StateFailed || !reflect.DeepEqual(ended, atOnce) {
		t.Errorf("after teardown\n%+v, never made\n%+v", ended, atOnce)
	}
	if atOnce.Failure != failure {
		t.Error("the tombstone has lost the failure")
	}
}

func TestFailedTeardownIsRetriedWithGrowingWaitsForever(t *testing.T) {
	r := inState(messages.StateRevoking)
	now := noon
	var waits []time.Duration
	for i := range 200 {
		r = must(r.TeardownFailed(fmt.Sprintf("failure %d", i), now))
		waits = append(waits, r.Due.Sub(now))
		if r.TeardownTries != i+1 || r.TeardownError != fmt.Sprintf("failure %d", i) {
			t.Fatalf("failure %d is counted as %d: %s", i+1, r.TeardownTries, r.TeardownError)
		}
		now = r.Due
		r = must(r.RetryTeardown(now, timing))
		if !r.Due.Equal(now.Add(30 * time.Second)) {
			t.Fatalf("claimed until %s, want 30s", r.Due.Sub(now))
		}
	}
	if waits[0] != record.MinTeardownWait {
		t.Errorf("the first wait is %s", waits[0])
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] || (waits[i] == waits[i-1] && waits[i] != record.MaxTeardownWait) || waits[i] > record.MaxTeardownWait {
			t.Errorf("wait %d is %s after %s", i, waits[i], waits[i-1])
		}
	}
	if last := waits[len(waits)-1]; last != record.MaxTeardownWait {
		t.Errorf("the last wait is %s", last)
	}
}

func TestFailedTeardownWaitsAtMostAnHour(t *testing.T) {
	for _, tries := range []int{0, 1, 9, 10, 11, 62, 63, 64, 1 << 40} {
		r := inState(messages.StateRevoking)
		r.TeardownTries = tries
		r = must(r.TeardownFailed("away", noon))
		if wait := r.Due.Sub(noon); wait < record.MinTeardownWait || wait > record.MaxTeardownWait {
			t.Errorf("after %d failures the wait is %s", tries, wait)
		}
	}
}

// AWS took no call, so the attempt is not counted and the last error stays.
func TestDeferredTeardownIsNoFailure(t *testing.T) {
	r := must(inState(messages.StateRevoking).TeardownFailed("away", noon))
	later := must(r.DeferTeardown(time.Minute, noon))
	if later.TeardownTries != 1 || later.TeardownError != "away" || !later.Due.Equal(noon.Add(time.Minute)) {
		t.Errorf("got %d failures, %q, due %s", later.TeardownTries, later.TeardownError, later.Due)
	}
}

func TestAccessHasEndedWhenNoKeyWorks(t *testing.T) {
	if settledLease().AccessEnded() || inState(messages.StateRevoking).AccessEnded() {
		t.Error("access of a lease with a key has ended")
	}
	r := must(inState(messages.StateRevoking).KeyDeleted(noon))
	if !r.AccessEnded() || !must(r.KeyDeleted(noon.Add(time.Hour))).KeyDeletedAt.Equal(noon) {
		t.Error("access has not ended after the key was deleted, or the time has changed")
	}
	if never := must(inState(messages.StateProvisioning).End(messages.ReasonFailed, "", noon, timing)); !never.AccessEnded() {
		t.Error("access of a lease that was never delivered has not ended")
	}
	if sessionIn(messages.StateRevoking).AccessEnded() {
		t.Error("access of a session has ended")
	}
	if tomb := must(r.Ended(noon)); tomb.AccessEnded() || !tomb.KeyDeletedAt.IsZero() {
		t.Error("AccessEnded of a tombstone is true")
	}
}

func TestTombstoneKeepsWhatRepliesAndEventsNeed(t *testing.T) {
	r := settledLease()
	r = must(r.Renew(r.ExpiresAt.Add(time.Hour), 7, noon, timing))
	r = must(r.End(messages.ReasonRequested, "done", noon, timing))
	r = must(r.TeardownFailed("away", noon))
	at := noon.Add(time.Minute)
	tomb := must(r.Ended(at))
	want := record.Record{
		Version: record.Version, State: messages.StateRevoked, Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		Origin: r.Origin, Attempt: 1, User: record.User{Name: r.User.Name}, Labels: r.Labels,
		StartedAt: r.StartedAt, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		AccessKeyID: "AKIAX", DeliveredAt: r.DeliveredAt, Renewals: 1,
		Reason: messages.ReasonRequested, Note: "done", EndedAt: at,
	}
	if !reflect.DeepEqual(tomb, want) {
		t.Errorf("got\n%+v, want\n%+v", tomb, want)
	}
}
