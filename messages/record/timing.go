package record

import "time"

// Timing is how long a lease may stay in the states that the broker must end.
type Timing struct {
	// Provision is how long an attempt to make a lease may take before it counts
	// as abandoned; 0 is 30s.
	Provision time.Duration
	// Deliver is how long a finished lease may wait for its delivery before it
	// counts as undelivered; 0 is 45s. ready_within comes on top.
	Deliver time.Duration
	// Confirm is how long a requester that promised to confirm may take; 0 is 10s.
	Confirm time.Duration
	// Teardown is how long one attempt at a teardown may take before another
	// worker starts the next; 0 is 30s.
	Teardown time.Duration
	// Expiring is how long before its end a lease is announced as expiring;
	// 0 announces nothing.
	Expiring time.Duration
}

// WithDefaults returns t with the defaults in place of zero values.
func (t Timing) WithDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.Provision, 30*time.Second)
	set(&t.Deliver, 45*time.Second)
	set(&t.Confirm, 10*time.Second)
	set(&t.Teardown, 30*time.Second)
	return t
}

// moment is t as records have it: in UTC and truncated to milliseconds.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
