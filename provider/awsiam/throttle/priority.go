package throttle

import "context"

// Priority orders the calls that wait for a slot.
type Priority int

// The priorities, the highest first. Access ends before anything else: in a mass
// expiry every key is deleted before the first user is.
const (
	EndAccess  Priority = iota // calls that end access, and the reads that they depend on
	Cleanup                    // the rest of a teardown
	Renewal                    // renewals
	Completion                 // the rest of a creation that has begun
	Other                      // all other calls: the beginning of a creation, dry runs, listings
	priorities
)

type (
	priorityKey  struct{}
	followingKey struct{}
	noWaitKey    struct{}
)

// WithPriority returns a context whose calls have a priority. The default is
// [Other].
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityOf returns the priority of a context's calls.
func PriorityOf(ctx context.Context) Priority {
	if p, ok := ctx.Value(priorityKey{}).(Priority); ok {
		return p
	}
	return Other
}

// WithFollowing returns a context for a call that is of use only if a number of
// calls of priority [Completion] get their slots as well before the context's
// deadline.
func WithFollowing(ctx context.Context, calls int) context.Context {
	return context.WithValue(ctx, followingKey{}, calls)
}

func followingOf(ctx context.Context) int {
	n, _ := ctx.Value(followingKey{}).(int)
	return n
}

// WithoutWaiting returns a context whose calls get a slot at once or fail with a
// [*WaitError].
func WithoutWaiting(ctx context.Context) context.Context {
	return context.WithValue(ctx, noWaitKey{}, true)
}

func mustNotWait(ctx context.Context) bool { return ctx.Value(noWaitKey{}) != nil }
