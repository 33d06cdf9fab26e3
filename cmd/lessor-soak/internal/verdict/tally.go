package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tally counts. It may be used by many goroutines.
type Tally struct {
	mu         sync.Mutex
	survived   map[string]int
	broken     map[string]int
	apart      map[string]int
	zero       map[Kind]int
	violations []Violation
	seen       map[string]bool      // of violations that may be found again and again
	keys       map[string]*toldKeys // by idempotency key
	orders     map[string]bool      // leases, and identities, that an operator has had ended
	owes       map[string]bool      // requests that were stored and have had no answer, by label
	givenUp    map[string]bool      // of those, the ones whose user may be left to the sweep
}

func NewTally() *Tally {
	return &Tally{
		survived: map[string]int{}, broken: map[string]int{}, apart: map[string]int{}, zero: map[Kind]int{},
		seen: map[string]bool{}, keys: map[string]*toldKeys{}, orders: map[string]bool{}, givenUp: map[string]bool{}, owes: map[string]bool{},
	}
}

// maxViolations is how many a verdict tells of, beside their number.
const maxViolations = 100

func (t *Tally) Add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.survived[what] += n
}

// Broke counts what was done to the brokers and to what they need.
func (t *Tally) Broke(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken[what] += n
}

// Ordered notes, before an operator ends a lease, that nobody may wonder at its end;
// and where its user may be left, that it is the sweep's.
func (t *Tally) Ordered(lease string, giveUp bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders[lease] = true
	t.givenUp[lease] = t.givenUp[lease] || giveUp
}

// OrderedAll is ordered for all leases of an identity.
func (t *Tally) OrderedAll(identity string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders[identity] = true
}

func (t *Tally) WasOrdered(lease string) bool {
	identity, _, _ := strings.Cut(lease, ".")
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.orders[lease] || t.orders[identity]
}

func (t *Tally) WasGivenUp(lease string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.givenUp[lease]
}

func (t *Tally) Most(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.survived[what] = max(t.survived[what], n)
}

// Lost counts what was lost by right.
func (t *Tally) Lost(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apart[what]++
}

// Violated counts what should not have happened; about names whom it concerns,
// and is counted once.
func (t *Tally) Violated(kind Kind, about, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[string(kind)+" "+about] {
		return
	}
	t.seen[string(kind)+" "+about] = true
	t.zero[kind]++
	if len(t.violations) < maxViolations {
		t.violations = append(t.violations, Violation{At: time.Now().UTC(), Kind: kind, What: about + ": " + fmt.Sprintf(format, args...)})
	}
}

// Told notes that an idempotency key was answered with an access key.
func (t *Tally) Told(idempotencyKey, accessKeyID, lease string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[idempotencyKey]
	if k == nil {
		k = &toldKeys{lease: lease, ids: map[string]bool{}}
		t.keys[idempotencyKey] = k
	}
	k.ids[accessKeyID] = true
}

// Owed notes that a request was stored: an answer is owed.
func (t *Tally) Owed(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owes[label] = true
}

// Paid notes that the answer came.
func (t *Tally) Paid(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.owes, label)
}

// JudgeOwed counts the answers that never came. One that the broker gave can get lost
// in NATS on its last step, which nobody is told: the events say whether it did.
func (t *Tally) JudgeOwed(given map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.owes)
	t.mu.Unlock()
	for label := range all {
		if given[label] {
			t.Lost("answers that a dying NATS server or a cut line lost on their last step")
		} else {
			t.Violated(Unanswered, label, "the request was stored, and no event tells of an answer")
		}
	}
}

// toldKeys are the access keys that an idempotency key was answered with.
type toldKeys struct {
	lease string
	ids   map[string]bool
}

// JudgeKeys counts the idempotency keys with two access keys. Where the first was
// taken back as undelivered, the second is right.
func (t *Tally) JudgeKeys(undelivered map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.keys)
	t.mu.Unlock()
	for key, told := range all {
		switch {
		case len(told.ids) < 2:
		case undelivered[told.lease]:
			t.Lost("idempotency keys with another access key, after the first was taken back as undelivered")
		default:
			t.Violated(TwoKeys, told.lease, "idempotency key %s has the access keys %s", key, strings.Join(slices.Sorted(maps.Keys(told.ids)), " and "))
		}
	}
}

// Sofar is a line for the progress.
func (t *Tally) Sofar() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	bad := 0
	for _, n := range t.zero {
		bad += n
	}
	return fmt.Sprintf("%d leases issued, %d kills, %d that should not be", t.survived["leases issued"], t.broken[BrokersKilled]+t.broken[NodesKilled], bad)
}

func (t *Tally) Verdict(seed uint64, d time.Duration) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := Verdict{
		Seed: seed, Duration: d.String(), OK: true, MustBeZero: slices.Clone(MustBeZero),
		Broken: figures(t.broken), Apart: figures(t.apart), Survived: figures(t.survived), Violations: append([]Violation{}, t.violations...),
	}
	for i := range v.MustBeZero {
		v.MustBeZero[i].Count = t.zero[Kind(v.MustBeZero[i].Name)]
		v.OK = v.OK && v.MustBeZero[i].Count == 0
	}
	return v
}
