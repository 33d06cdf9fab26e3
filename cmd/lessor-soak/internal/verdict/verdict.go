package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds that a verdict is by.
const (
	// LateBound is how long a key may outlive its lease during the test, not counting the
	// time in which no broker was ready.
	LateBound = time.Minute
	// CleanupBound is the same for a user without a key: keys are deleted first while AWS
	// throttles.
	CleanupBound = 3 * time.Minute
	// SettleBound is how long everything may take to end once all is well: the longest
	// lease, and the wait before a failed revocation is retried.
	SettleBound = 3 * time.Minute
)

// What a soak must have had enough of to mean something; the storm sees to it.
const (
	BrokersKilled = "kill -9 of brokers"
	NodesKilled   = "kill -9 of NATS servers"
	AwsFaults     = "AWS calls disturbed, in percent of all"
)

// Kind is a kind of violation: something that a broker must never let happen.
type Kind string

// The kinds of violations. [MustBeZero] says what they mean.
const (
	UsersLeft  Kind = "users_left"
	LeasesLeft Kind = "leases_left"
	Late       Kind = "late"
	Beyond     Kind = "beyond"
	Early      Kind = "early"
	Unanswered Kind = "unanswered"
	TwoKeys    Kind = "two_keys"
	TwoUsers   Kind = "two_users"
	DeadKey    Kind = "dead_key"
	NotRenewed Kind = "not_renewed"
	NotRevoked Kind = "not_revoked"
	Wrong      Kind = "wrong"
	Secrets    Kind = "secrets"
	Untold     Kind = "untold"
	Order      Kind = "order"
	Rotation   Kind = "rotation"
	Queued     Kind = "queued"
	Unready    Kind = "unready"
	Died       Kind = "died"
)

// MustBeZero are the counts that a good verdict has at zero, in the order of the
// table.
var MustBeZero = []Figure{
	{Name: string(UsersLeft), What: "users without a lease when all is over"},
	{Name: string(LeasesLeft), What: "leases that do not end"},
	{Name: string(Late), What: "leases past their expiry by more than " + LateBound.String() + " (without a key: " + CleanupBound.String() + ") with a broker there"},
	{Name: string(Beyond), What: "keys that AWS took after their lease's end (hard expiry)"},
	{Name: string(Early), What: "leases that ended before their time"},
	{Name: string(Unanswered), What: "requests without an answer, also when repeated at the end"},
	{Name: string(TwoKeys), What: "idempotency keys with two access keys"},
	{Name: string(TwoUsers), What: "leases with two users at once"},
	{Name: string(DeadKey), What: "delivered keys that did not work"},
	{Name: string(NotRenewed), What: "renewals that did not extend"},
	{Name: string(NotRevoked), What: "revoked leases whose user was still there"},
	{Name: string(Wrong), What: "answers that make no sense"},
	{Name: string(Secrets), What: "secret keys in clear in stores, logs or events"},
	{Name: string(Untold), What: "keys of which the events do not tell both beginning and end"},
	{Name: string(Order), What: "keys whose event issued came after the one of their end"},
	{Name: string(Rotation), What: "keys of the managing user that rotations left over, or lost"},
	{Name: string(Queued), What: "messages left in the queues"},
	{Name: string(Unready), What: "brokers that were not ready again after the healing"},
	{Name: string(Died), What: "processes that ended by themselves"},
}

// Figure is one count.
type Figure struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Count int    `json:"count"`
}

// Violation is one thing that should not have happened.
type Violation struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"` // the name of a figure that must be zero
	What string    `json:"what"`
}

// Verdict is what came of a soak.
//
//	{"seed":7,"duration":"2m0s","ok":true,"must_be_zero":[{"name":"users_left","what":"…","count":0},…],
//	 "broken":[…],"apart":[…],"survived":[…],"violations":[]}
type Verdict struct {
	Seed       uint64      `json:"seed"`
	Duration   string      `json:"duration"`
	OK         bool        `json:"ok"`
	MustBeZero []Figure    `json:"must_be_zero"`
	Broken     []Figure    `json:"broken"`   // what was done to it
	Apart      []Figure    `json:"apart"`    // lost by right: nobody could have done better
	Survived   []Figure    `json:"survived"` // what was done meanwhile
	Violations []Violation `json:"violations"`
}

// Count is a figure's count, wherever it stands.
func (v Verdict) Count(name string) int {
	for _, f := range slices.Concat(v.MustBeZero, v.Broken, v.Apart, v.Survived) {
		if f.Name == name {
			return f.Count
		}
	}
	return 0
}

// Table is the verdict for a person.
func (v Verdict) Table() string {
	var b strings.Builder
	for _, part := range []struct {
		title   string
		figures []Figure
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
		word, v.Seed, v.Duration, v.Count(FigureName(BrokersKilled)), v.Count(FigureName(NodesKilled)), v.Count(FigureName(AwsFaults)))
	return b.String()
}

// figures are counts whose names say what they are.
func figures(counts map[string]int) []Figure {
	all := []Figure{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, Figure{Name: FigureName(name), What: name, Count: counts[name]})
	}
	return all
}

func FigureName(what string) string { return strings.ReplaceAll(strings.ToLower(what), " ", "_") }
