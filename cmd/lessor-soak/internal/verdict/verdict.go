// Package verdict counts what happens in a soak test and judges it.
package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of a good verdict.
const (
	// LateBound is how long a user with a key may exist after its lease's expiry. Only time
	// in which a broker is ready counts.
	LateBound = time.Minute
	// CleanupBound is the same for a user without a key: while AWS throttles, keys are
	// deleted first.
	CleanupBound = 3 * time.Minute
	// SettleBound is how long it may take until all leases have ended after the last fault:
	// the longest lease, and the wait before a failed revocation is retried.
	SettleBound = 3 * time.Minute
)

// Faults without which a soak test shows little. The chaos package ensures them.
const (
	BrokersKilled = "kill -9 of brokers"
	NodesKilled   = "kill -9 of NATS servers"
	AWSDisturbed  = "AWS calls disturbed, in percent of all"
)

// Kind is a kind of violation: something that a broker must never let happen.
type Kind string

// The kinds of violations. [MustBeZero] describes them.
const (
	UsersLeft        Kind = "users_left"
	LeasesLeft       Kind = "leases_left"
	LateEnd          Kind = "late"
	KeyAfterExpiry   Kind = "beyond"
	EarlyEnd         Kind = "early"
	Unanswered       Kind = "unanswered"
	TwoKeys          Kind = "two_keys"
	TwoUsers         Kind = "two_users"
	DeadKey          Kind = "dead_key"
	NotRenewed       Kind = "not_renewed"
	NotRevoked       Kind = "not_revoked"
	WrongAnswer      Kind = "wrong"
	SecretFound      Kind = "secrets"
	IncompleteEvents Kind = "untold"
	EventOrder       Kind = "order"
	Rotation         Kind = "rotation"
	Queued           Kind = "queued"
	NotReady         Kind = "unready"
	ProcessEnded     Kind = "died"
)

// MustBeZero are the figures that are zero in a good verdict, in the order of the table.
var MustBeZero = []Figure{
	{Name: string(UsersLeft), What: "users left at the end"},
	{Name: string(LeasesLeft), What: "leases that did not end"},
	{Name: string(LateEnd), What: "users more than " + LateBound.String() + " after their lease's expiry (without a key: " + CleanupBound.String() + "), while a broker was ready"},
	{Name: string(KeyAfterExpiry), What: "keys that AWS accepted after their lease's expiry (hard expiry)"},
	{Name: string(EarlyEnd), What: "leases that ended before their expiry"},
	{Name: string(Unanswered), What: "requests without an answer, also when repeated at the end"},
	{Name: string(TwoKeys), What: "idempotency keys with two access keys"},
	{Name: string(TwoUsers), What: "leases with two users at the same time"},
	{Name: string(DeadKey), What: "delivered keys that did not work"},
	{Name: string(NotRenewed), What: "renewals that did not extend the lease"},
	{Name: string(NotRevoked), What: "revoked leases whose user still existed"},
	{Name: string(WrongAnswer), What: "wrong answers"},
	{Name: string(SecretFound), What: "secret keys in clear text in stores, logs or events"},
	{Name: string(IncompleteEvents), What: "keys without both an issued event and an event of their end"},
	{Name: string(EventOrder), What: "keys whose issued event came after that of their end"},
	{Name: string(Rotation), What: "keys of the managing user that are left over or missing after rotations"},
	{Name: string(Queued), What: "messages left in the work queues"},
	{Name: string(NotReady), What: "brokers that were not ready again after the faults"},
	{Name: string(ProcessEnded), What: "processes that ended by themselves"},
}

// Figure is one count.
type Figure struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Count int    `json:"count"`
}

// Violation is one violation of a guarantee.
type Violation struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"` // the name of the figure in MustBeZero
	What string    `json:"what"`
}

// Verdict is the result of a soak test. Its JSON is
//
//	{"seed":7,"duration":"2m0s","ok":true,"must_be_zero":[{"name":"users_left","what":"…","count":0},…],
//	 "broken":[…],"apart":[…],"survived":[…],"violations":[]}
type Verdict struct {
	Seed       uint64      `json:"seed"`
	Duration   string      `json:"duration"`
	OK         bool        `json:"ok"` // every figure in MustBeZero is zero
	MustBeZero []Figure    `json:"must_be_zero"`
	Faults     []Figure    `json:"broken"`   // the faults that the test caused
	Excused    []Figure    `json:"apart"`    // losses that no broker can prevent
	Done       []Figure    `json:"survived"` // what was requested and done
	Violations []Violation `json:"violations"`
}

// Count returns the count of a figure by its name, or 0.
func (v Verdict) Count(name string) int {
	for _, f := range slices.Concat(v.MustBeZero, v.Faults, v.Excused, v.Done) {
		if f.Name == name {
			return f.Count
		}
	}
	return 0
}

// Table returns the verdict as text.
func (v Verdict) Table() string {
	var b strings.Builder
	for _, part := range []struct {
		title   string
		figures []Figure
	}{{"done", v.Done}, {"excused", v.Excused}, {"faults", v.Faults}, {"must be zero", v.MustBeZero}} {
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
		word, v.Seed, v.Duration, v.Count(FigureName(BrokersKilled)), v.Count(FigureName(NodesKilled)), v.Count(FigureName(AWSDisturbed)))
	return b.String()
}

// figures returns counts as figures, sorted by their description.
func figures(counts map[string]int) []Figure {
	all := []Figure{}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, Figure{Name: FigureName(what), What: what, Count: counts[what]})
	}
	return all
}

// FigureName returns the name of a figure that is not in MustBeZero, from its description.
func FigureName(what string) string { return strings.ReplaceAll(strings.ToLower(what), " ", "_") }
