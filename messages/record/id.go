package record

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"time"
)

var base32Lower = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// LeaseIDForKey returns the id of the lease that a request with an idempotency key
// makes.
func LeaseIDForKey(identity, secret, idempotencyKey string) string {
	return LeaseID(identity, secret, idempotencyKey, 0, time.Time{})
}

// LeaseID returns the id of the lease that a request makes, a subject token of 26
// characters: a hash of identity, secret and idempotency key or, without a key, of
// the message's sequence and time in its stream. Every handling of the same request
// gets the same id.
func LeaseID(identity, secret, idempotencyKey string, sequence uint64, stored time.Time) string {
	parts := []any{identity, secret, "key", idempotencyKey}
	if idempotencyKey == "" {
		parts = []any{identity, secret, "message", sequence, stored.UnixNano()}
	}
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(parts) // a hash takes every write
	return base32Lower.EncodeToString(h.Sum(nil)[:16])
}
