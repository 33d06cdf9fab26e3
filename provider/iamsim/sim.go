package iamsim

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"sync"
	"time"
)

// Options says what account is simulated. The zero value is a usable account.
type Options struct {
	Account   string // 12 digits; "" means 123456789012
	Partition string // "" means aws
	MaxUsers  int    // users the account may hold; 0 means AWS's 5000

	// Now is the account's clock: creation dates, key ages, policy conditions, visibility delays and the
	// throttle's refill go by it. nil means time.Now.
	Now func() time.Time

	// SigningNow is the clock that request signatures are compared with. It is kept apart so that a test can
	// move Now while the SDK signs with real time. nil means time.Now.
	SigningNow func() time.Time

	Rand      io.Reader // ids, keys and the dice of Faults; it must not fail; nil means crypto/rand.Reader
	Faults    Faults    // the faults to begin with
	NoCallLog bool      // do not record calls: Calls stays empty, and memory does not grow with traffic
}

// Sim is one AWS account behind the wire protocol of IAM and STS. It is an http.Handler, and safe for concurrent use.
type Sim struct {
	now        func() time.Time
	signingNow func() time.Time
	random     *random
	log        callLog

	mu      sync.Mutex // guards what follows; held for one state change, never while waiting
	account *account
	faults  Faults
	bucket  bucket
	hook    func(context.Context, Call) Verdict
}

// New makes an account that holds nothing but AWS's own managed policies.
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
