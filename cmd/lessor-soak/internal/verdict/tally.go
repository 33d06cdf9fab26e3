package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tally counts what happens in a soak test. It is safe for concurrent use.
type Tally struct {
	mu         sync.Mutex
	done       map[string]int // by description, as are faults and excused
	faults     map[string]int
	excused    map[string]int
	violated   map[Kind]int
	violations []Violation
	seen       map[string]bool          // violations by kind and subject
	keys       map[string]*receivedKeys // by idempotency key
	ended      map[string]bool          // leases, and identities, whose leases an operator has ended
	givenUp    map[string]bool          // leases that an operator has given up
	stored     map[string]bool          // requests on the stream that have no answer yet, by label
}

// receivedKeys are the access keys in the answers to one idempotency key.
type receivedKeys struct {
	lease string
	ids   map[string]bool
}

// maxViolations is the number of violations that a verdict describes. All are counted.
const maxViolations = 100

// NewTally returns a tally without counts.
func NewTally() *Tally {
	return &Tally{
		done: map[string]int{}, faults: map[string]int{}, excused: map[string]int{}, violated: map[Kind]int{},
		seen: map[string]bool{}, keys: map[string]*receivedKeys{}, ended: map[string]bool{}, givenUp: map[string]bool{}, stored: map[string]bool{},
	}
}

// Add counts n of what was done.
func (t *Tally) Add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[what] += n
}

// Max raises the count of what was done to n, unless it is higher.
func (t *Tally) Max(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[what] = max(t.done[what], n)
}

// Fault counts n faults that the test caused.
func (t *Tally) Fault(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults[what] += n
}

// Excuse counts a loss that no broker can prevent.
func (t *Tally) Excuse(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.excused[what]++
}

// Violated counts a violation. The subject is the lease, request or process that it is
// about; a second violation of the same kind and subject is not counted.
func (t *Tally) Violated(kind Kind, subject, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[string(kind)+" "+subject] {
		return
	}
	t.seen[string(kind)+" "+subject] = true
	t.violated[kind]++
	if len(t.violations) < maxViolations {
		t.violations = append(t.violations, Violation{At: time.Now().UTC(), Kind: kind, What: subject + ": " + fmt.Sprintf(format, args...)})
	}
}

// OperatorEnds records that an operator is about to end a lease, or all leases of an
// identity: their early end is no violation.
func (t *Tally) OperatorEnds(leaseOrIdentity string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[leaseOrIdentity] = true
}

// OperatorGivesUp records that an operator is about to give up a lease: it ends, and its
// user may be left to the sweep.
func (t *Tally) OperatorGivesUp(lease string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[lease], t.givenUp[lease] = true, true
}

// EndedByOperator reports whether an operator has ended a lease, or all of its identity.
func (t *Tally) EndedByOperator(lease string) bool {
	identity, _, _ := strings.Cut(lease, ".")
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended[lease] || t.ended[identity]
}

// GivenUp reports whether an operator has given up a lease.
func (t *Tally) GivenUp(lease string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.givenUp[lease]
}

// KeyReceived records the access key in an answer to an idempotency key.
func (t *Tally) KeyReceived(idempotencyKey, accessKeyID, lease string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[idempotencyKey]
	if k == nil {
		k = &receivedKeys{lease: lease, ids: map[string]bool{}}
		t.keys[idempotencyKey] = k
	}
	k.ids[accessKeyID] = true
}

// CheckKeys counts the idempotency keys with two access keys. A second one is right if the
// first lease was revoked as undelivered.
func (t *Tally) CheckKeys(undelivered map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.keys)
	t.mu.Unlock()
	for key, received := range all {
		switch {
		case len(received.ids) < 2:
		case undelivered[received.lease]:
			t.Excuse("idempotency keys with another access key, after the first lease was revoked as undelivered")
		default:
			t.Violated(TwoKeys, received.lease, "idempotency key %s has the access keys %s", key, strings.Join(slices.Sorted(maps.Keys(received.ids)), " and "))
		}
	}
}

// RequestStored records that the stream has acknowledged a request: it must be answered.
func (t *Tally) RequestStored(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stored[label] = true
}

// RequestAnswered records that the answer to a stored request has arrived.
func (t *Tally) RequestAnswered(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.stored, label)
}

// CheckRequests counts the stored requests without an answer. Sent has the labels of those
// that the broker has answered according to the events: NATS can lose an answer on its
// last hop, and reports no loss.
func (t *Tally) CheckRequests(sent map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.stored)
	t.mu.Unlock()
	for label := range all {
		if sent[label] {
			t.Excuse("answers that were sent and lost on their last hop")
		} else {
			t.Violated(Unanswered, label, "the request was stored, and no event shows an answer")
		}
	}
}

// Progress returns the counts in one line.
func (t *Tally) Progress() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	violations := 0
	for _, n := range t.violated {
		violations += n
	}
	return fmt.Sprintf("%d leases issued, %d kills, %d violations", t.done["leases issued"], t.faults[BrokersKilled]+t.faults[NodesKilled], violations)
}

// Verdict returns the verdict of a test with the given seed and duration.
func (t *Tally) Verdict(seed uint64, d time.Duration) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := Verdict{
		Seed: seed, Duration: d.String(), OK: true, MustBeZero: slices.Clone(MustBeZero),
		Faults: figures(t.faults), Excused: figures(t.excused), Done: figures(t.done), Violations: append([]Violation{}, t.violations...),
	}
	for i := range v.MustBeZero {
		v.MustBeZero[i].Count = t.violated[Kind(v.MustBeZero[i].Name)]
		v.OK = v.OK && v.MustBeZero[i].Count == 0
	}
	return v
}
