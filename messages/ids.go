package messages

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
	"time"
)

var base32Lower = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// token writes the first 128 bits of a hash as a subject token of 26 characters.
func token(sum []byte) string { return base32Lower.EncodeToString(sum[:16]) }

// LeaseID is the id of the lease that a request makes: a hash of who asks for
// what and the idempotency key, or, without one, of the message's place and
// time on its stream. Whoever handles the same request finds the same lease.
func LeaseID(identity, secret, idempotencyKey string, sequence uint64, stored time.Time) string {
	parts := []any{identity, secret, "key", idempotencyKey}
	if idempotencyKey == "" {
		parts = []any{identity, secret, "message", sequence, stored.UnixNano()}
	}
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(parts) // a hash takes every write
	return strings.ToLower(token(h.Sum(nil)))
}
