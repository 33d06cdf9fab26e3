package iamsim

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"sync"
	"time"
)

// Options configure a [Sim].
type Options struct {
	Account   string // account id of 12 digits; "" means 123456789012
	Partition string // "" means aws
	MaxUsers  int    // quota of users; 0 means 5000, as with AWS

	// Now is the account's clock, for creation dates, key ages, policy conditions, visibility delays and
	// throttling. nil means time.Now.
	Now func() time.Time

	// SigningNow is the clock for the age of request signatures. It is separate from Now, so that a test can move
	// Now while the SDK signs with the real time. nil means time.Now.
	SigningNow func() time.Time

	Rand      io.Reader // source of ids, keys and random faults, which must not fail; nil means crypto/rand.Reader
	Faults    Faults    // initial faults
	NoCallLog bool      // do not log calls, so that memory does not grow with their number; Calls returns none
}

// Sim is a simulated AWS account that speaks the wire protocol of IAM and STS. It is an http.Handler and safe for
// concurrent use.
type Sim struct {
	now        func() time.Time
	signingNow func() time.Time
	random     *random
	log        callLog

	mu      sync.Mutex // guards the fields below; held for one state change, never while waiting
	account *account
	faults  Faults
	bucket  bucket
	hook    func(context.Context, Call) Verdict
}

// New returns an empty account. It has the AWS managed policies only.
func New(o Options) *Sim {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SigningNow == nil {
		o.SigningNow = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	r := &random{source: o.Rand}
	s := &Sim{
		now:        o.Now,
		signingNow: o.SigningNow,
		random:     r,
		log:        callLog{off: o.NoCallLog},
		account: newAccount(
			cmp.Or(o.Account, "123456789012"),
			cmp.Or(o.Partition, "aws"),
			cmp.Or(o.MaxUsers, 5000),
			r,
		),
	}
	s.SetFaults(o.Faults)
	return s
}
