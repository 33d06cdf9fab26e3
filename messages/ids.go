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

// PackLeaseID returns the 128 bits that a lease id writes, and false for a text that
// [LeaseID] does not make: it may be a lease's id all the same.
func PackLeaseID(id string) (packed [16]byte, ok bool) {
	if len(id) != packedIDLen {
		return packed, false
	}
	var text, again [packedIDLen]byte
	copy(text[:], id)
	if _, err := base32Lower.Decode(packed[:], text[:]); err != nil {
		return packed, false
	}
	base32Lower.Encode(again[:], packed[:]) // the last letter has two bits to spare
	return packed, again == text
}

// UnpackLeaseID is the reverse of [PackLeaseID].
func UnpackLeaseID(packed [16]byte) string { return token(packed[:]) }

// packedIDLen is how many letters write 128 bits.
const packedIDLen = 26
