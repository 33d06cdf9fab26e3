package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a soak must have had enough of to mean something; the storm sees to it.
const (
	brokersKilled = "kill -9 of brokers"
	nodesKilled   = "kill -9 of NATS servers"
	awsFaults     = "AWS calls disturbed, in percent of all"
)

// mustBeZero are the counts that a good verdict has at zero, in the order of the
// table.
var mustBeZero = []soakFigure{
	{Name: "users_left", What: "users without a lease when all is over"},
	{Name: "leases_left", What: "leases that do not end"},
	{Name: "late", What: "leases past their expiry by more than " + lateBound.String() + " (without a key: " + tidyBound.String() + ") with a broker there"},
	{Name: "beyond", What: "keys that AWS took after their lease's end (hard expiry)"},
	{Name: "early", What: "leases that ended before their time"},
	{Name: "unanswered", What: "requests without an answer, also when repeated at the end"},
	{Name: "two_keys", What: "idempotency keys with two access keys"},
	{Name: "two_users", What: "leases with two users at once"},
	{Name: "dead_key", What: "delivered keys that did not work"},
	{Name: "not_renewed", What: "renewals that did not extend"},
	{Name: "not_revoked", What: "revoked leases whose user was still there"},
	{Name: "wrong", What: "answers that make no sense"},
	{Name: "secrets", What: "secret keys in clear in stores, logs or events"},
	{Name: "untold", What: "keys of which the events do not tell both beginning and end"},
	{Name: "order", What: "keys whose event issued came after the one of their end"},
	{Name: "rotation", What: "keys of the managing user that rotations left over, or lost"},
	{Name: "queued", What: "messages left in the queues"},
	{Name: "unready", What: "brokers that were not ready again after the healing"},
	{Name: "died", What: "processes that ended by themselves"},
}

// soakFigure is one count.
type soakFigure struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Count int    `json:"count"`
}

// soakViolation is one thing that should not have happened.
type soakViolation struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // the name of a figure that must be zero
	What string    `json:"what"`
}

// soakVerdict is what came of a soak.
//
//	{"seed":7,"duration":"2m0s","ok":true,"must_be_zero":[{"name":"users_left","what":"…","count":0},…],
//	 "broken":[…],"apart":[…],"survived":[…],"violations":[]}
type soakVerdict struct {
	Seed       uint64          `json:"seed"`
	Duration   string          `json:"duration"`
	OK         bool            `json:"ok"`
	MustBeZero []soakFigure    `json:"must_be_zero"`
	Broken     []soakFigure    `json:"broken"`   // what was done to it
	Apart      []soakFigure    `json:"apart"`    // lost by right: nobody could have done better
	Survived   []soakFigure    `json:"survived"` // what was done meanwhile
	Violations []soakViolation `json:"violations"`
}

// count is a figure's count, wherever it stands.
func (v soakVerdict) count(name string) int {
	for _, f := range slices.Concat(v.MustBeZero, v.Broken, v.Apart, v.Survived) {
		if f.Name == name {
			return f.Count
		}
	}
	return 0
}

// table is the verdict for a person.
func (v soakVerdict) table() string {
	var b strings.Builder
	for _, part := range []struct {
		title   string
		figures []soakFigure
	}{{"done", v.Survived}, {"lost by right", v.Apart}, {"broken, and survived", v.Broken}, {"must be zero", v.MustBeZero}} {
		fmt.Fprintf(&b, "%s\n", part.title)
		for _, f := range part.figures {
			fmt.Fprintf(&b, "  %7d  %s\n", f.Count, f.What)
		}
	}
	for _, x := range v.Violations {
		fmt.Fprintf(&b, "%s  %s: %s\n", x.At.UTC().Format("15:04:05.000"), x.Kind, x.What)
	}
	word := "good"
	if !v.OK {
		word = "BAD"
	}
	fmt.Fprintf(&b, "verdict: %s (seed %d, %s: %d brokers and %d NATS servers killed, %d%% of the AWS calls disturbed)\n",
		word, v.Seed, v.Duration, v.count(figureName(brokersKilled)), v.count(figureName(nodesKilled)), v.count(figureName(awsFaults)))
	return b.String()
}

// soakTally counts. It may be used by many goroutines.
type soakTally struct {
	mu         sync.Mutex
	survived   map[string]int
	broken     map[string]int
	apart      map[string]int
	zero       map[string]int
	violations []soakViolation
	seen       map[string]bool      // of violations that may be found again and again
	keys       map[string]*toldKeys // by idempotency key
	orders     map[string]bool      // leases, and identities, that an operator has had ended
	owes       map[string]bool      // requests that were stored and have had no answer, by label
	givenUp    map[string]bool      // of those, the ones whose user may be left to the sweep
}

func newSoakTally() *soakTally {
	return &soakTally{
		survived: map[string]int{}, broken: map[string]int{}, apart: map[string]int{}, zero: map[string]int{},
		seen: map[string]bool{}, keys: map[string]*toldKeys{}, orders: map[string]bool{}, givenUp: map[string]bool{}, owes: map[string]bool{},
	}
}

// maxViolations is how many a verdict tells of, beside their number.
const maxViolations = 100

func (t *soakTally) add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.survived[what] += n
}

// broke counts what was done to the brokers and to what they need.
func (t *soakTally) broke(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken[what] += n
}

// ordered notes, before an operator ends a lease, that nobody may wonder at its end;
// and where its user may be left, that it is the sweep's.
func (t *soakTally) ordered(lease string, giveUp bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders[lease] = true
	t.givenUp[lease] = t.givenUp[lease] || giveUp
}

// orderedAll is ordered for all leases of an identity.
func (t *soakTally) orderedAll(identity string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders[identity] = true
}

func (t *soakTally) wasOrdered(lease string) bool {
	identity, _, _ := strings.Cut(lease, ".")
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.orders[lease] || t.orders[identity]
}

func (t *soakTally) wasGivenUp(lease string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.givenUp[lease]
}

func (t *soakTally) most(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.survived[what] = max(t.survived[what], n)
}

// lost counts what was lost by right.
func (t *soakTally) lost(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apart[what]++
}

// violated counts what should not have happened; about names whom it concerns,
// and is counted once.
func (t *soakTally) violated(kind, about, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[kind+" "+about] {
		return
	}
	t.seen[kind+" "+about] = true
	t.zero[kind]++
	if len(t.violations) < maxViolations {
		t.violations = append(t.violations, soakViolation{At: time.Now().UTC(), Kind: kind, What: about + ": " + fmt.Sprintf(format, args...)})
	}
}

// told notes that an idempotency key was answered with an access key.
func (t *soakTally) told(idempotencyKey, accessKeyID, lease string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[idempotencyKey]
	if k == nil {
		k = &toldKeys{lease: lease, ids: map[string]bool{}}
		t.keys[idempotencyKey] = k
	}
	k.ids[accessKeyID] = true
}

// owed notes that a request was stored: an answer is owed.
func (t *soakTally) owed(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owes[label] = true
}

// paid notes that the answer came.
func (t *soakTally) paid(label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.owes, label)
}

// judgeOwed counts the answers that never came. One that the broker gave can get lost
// in NATS on its last step, which nobody is told: the events say whether it did.
func (t *soakTally) judgeOwed(given map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.owes)
	t.mu.Unlock()
	for label := range all {
		if given[label] {
			t.lost("answers that a dying NATS server or a cut line lost on their last step")
		} else {
			t.violated("unanswered", label, "the request was stored, and no event tells of an answer")
		}
	}
}

// toldKeys are the access keys that an idempotency key was answered with.
type toldKeys struct {
	lease string
	ids   map[string]bool
}

// judgeKeys counts the idempotency keys with two access keys. Where the first was
// taken back as undelivered, the second is right.
func (t *soakTally) judgeKeys(undelivered map[string]bool) {
	t.mu.Lock()
	all := maps.Clone(t.keys)
	t.mu.Unlock()
	for key, told := range all {
		switch {
		case len(told.ids) < 2:
		case undelivered[told.lease]:
			t.lost("idempotency keys with another access key, after the first was taken back as undelivered")
		default:
			t.violated("two_keys", told.lease, "idempotency key %s has the access keys %s", key, strings.Join(slices.Sorted(maps.Keys(told.ids)), " and "))
		}
	}
}

// sofar is a line for the progress.
func (t *soakTally) sofar() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	bad := 0
	for _, n := range t.zero {
		bad += n
	}
	return fmt.Sprintf("%d leases issued, %d kills, %d that should not be", t.survived["leases issued"], t.broken[brokersKilled]+t.broken[nodesKilled], bad)
}

func (t *soakTally) verdict(seed uint64, d time.Duration) soakVerdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := soakVerdict{
		Seed: seed, Duration: d.String(), OK: true, MustBeZero: slices.Clone(mustBeZero),
		Broken: figures(t.broken), Apart: figures(t.apart), Survived: figures(t.survived), Violations: append([]soakViolation{}, t.violations...),
	}
	for i := range v.MustBeZero {
		v.MustBeZero[i].Count = t.zero[v.MustBeZero[i].Name]
		v.OK = v.OK && v.MustBeZero[i].Count == 0
	}
	return v
}

// figures are counts whose names say what they are.
func figures(counts map[string]int) []soakFigure {
	all := []soakFigure{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, soakFigure{Name: figureName(name), What: name, Count: counts[name]})
	}
	return all
}

func figureName(what string) string { return strings.ReplaceAll(strings.ToLower(what), " ", "_") }
