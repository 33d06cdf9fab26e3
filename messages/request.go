package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of requests. Labels and reasons are limited in characters, idempotency keys
// in bytes.
const (
	MaxLabels         = 16
	MaxLabelKey       = 64
	MaxLabelValue     = 256
	MaxReason         = 256
	MaxIdempotencyKey = 256
	MaxReadyWithin    = Duration(60 * time.Second)
)

// LeaseRequest requests a lease. Its zero value, and an empty body, request the
// secret's defaults.
//
//	{"ttl": "15m", "xkey": "XAB…", "confirm": true, "ready_within": "20s",
//	 "deadline": "2026-11-22T22:00:30Z", "labels": {"job": "1234"}}
type LeaseRequest struct {
	// TTL is how long the lease lasts; 0 is the secret's default_ttl.
	TTL Duration `json:"ttl,omitzero"`
	// XKey is a curve public key (nkeys, "X…"). With it the credentials are sealed
	// for that key.
	XKey string `json:"xkey,omitempty"`
	// Confirm promises to confirm the delivery. A lease that is not confirmed within
	// the broker's confirm_within is revoked.
	Confirm bool `json:"confirm,omitempty"`
	// ReadyWithin is how long the broker may wait for AWS to accept the new key
	// before it delivers; 0 delivers at once. The maximum is [MaxReadyWithin].
	ReadyWithin Duration `json:"ready_within,omitzero"`
	// Deadline is when the requester stops waiting. After it the broker creates
	// nothing in AWS. The zero time means no deadline.
	Deadline time.Time `json:"deadline,omitzero"`
	// Labels are stored with the lease and shown in its events.
	Labels map[string]string `json:"labels,omitempty"`
}

// DecodeLeaseRequest reads and checks a request. The error is an [Error].
func DecodeLeaseRequest(body []byte) (LeaseRequest, error) {
	var r LeaseRequest
	var xkey *string
	if err := decodeObject(body,
		field{"ttl", (*nonZeroDuration)(&r.TTL)}, field{"xkey", &xkey}, field{"confirm", &r.Confirm},
		field{"ready_within", &r.ReadyWithin}, field{"deadline", &r.Deadline}, field{"labels", &r.Labels},
	); err != nil {
		return LeaseRequest{}, err
	}
	if xkey != nil {
		// An empty xkey is an error: it must not be answered in clear.
		if r.XKey = *xkey; r.XKey == "" {
			return LeaseRequest{}, Errorf(CodeInvalidRequest, "xkey is empty; leave it out, or give a curve public key (X…)")
		}
	}
	if err := r.check(); err != nil {
		return LeaseRequest{}, err
	}
	r.Deadline = r.Deadline.UTC()
	return r, nil
}

func (r LeaseRequest) check() error {
	if r.ReadyWithin > MaxReadyWithin {
		return Errorf(CodeInvalidRequest, "ready_within is %s, the limit is %s", r.ReadyWithin, MaxReadyWithin)
	}
	if year := r.Deadline.UTC().Year(); year < 1 || year > 9999 {
		return Errorf(CodeInvalidRequest, "deadline is not in the years 1 to 9999")
	}
	if r.XKey != "" {
		if err := CheckXKey(r.XKey); err != nil {
			return err
		}
	}
	return checkLabels(r.Labels)
}

// Fingerprint returns a hash of the request without its deadline. A repeated request
// has the same fingerprint and another deadline.
func (r LeaseRequest) Fingerprint() string {
	r.Deadline = time.Time{}
	data, _ := json.Marshal(r) // encoding these fields never fails
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// RenewRequest moves the end of a lease to TTL after the time at which JetStream
// stored the message, and never to an earlier end.
//
//	{"ttl": "1h", "clamp": true}
type RenewRequest struct {
	// TTL is the new time to live; 0 is the secret's default_ttl at the time when the
	// lease was made.
	TTL Duration `json:"ttl,omitzero"`
	// Clamp reduces TTL to the largest that the lease allows.
	Clamp bool `json:"clamp,omitempty"`
}

// DecodeRenewRequest reads a renewal and checks it. The error is an [Error].
func DecodeRenewRequest(body []byte) (RenewRequest, error) {
	var r RenewRequest
	if err := decodeObject(body, field{"ttl", (*nonZeroDuration)(&r.TTL)}, field{"clamp", &r.Clamp}); err != nil {
		return RenewRequest{}, err
	}
	return r, nil
}

// RevokeRequest ends a lease.
//
//	{"reason": "job finished"}
type RevokeRequest struct {
	// Reason is stored with the lease and shown in its events. It has at most
	// [MaxReason] characters.
	Reason string `json:"reason,omitempty"`
}

// DecodeRevokeRequest reads a revocation and checks it. The error is an [Error].
func DecodeRevokeRequest(body []byte) (RevokeRequest, error) {
	var r RevokeRequest
	if err := decodeObject(body, field{"reason", &r.Reason}); err != nil {
		return RevokeRequest{}, err
	}
	if err := checkText("reason", r.Reason, MaxReason); err != nil {
		return RevokeRequest{}, err
	}
	return r, nil
}

// ListRequest requests a page of an identity's leases.
//
//	{"secret": "ci", "state": "active", "limit": 100, "after": "alice.ci.06ct…"}
type ListRequest struct {
	Secret string `json:"secret,omitempty"` // only leases of this secret
	State  State  `json:"state,omitempty"`  // only leases in this state; "" is all that have not ended
	Limit  int    `json:"limit,omitempty"`  // size of the page; 0 is 100, the maximum is MaxPage
	After  string `json:"after,omitempty"`  // "next" of the previous page; "" is the first page
}

// Sizes of a page of leases.
const (
	defaultPage = 100
	MaxPage     = 500
)

// DecodeListRequest reads a list request, checks it and sets the default limit. The
// error is an [Error].
func DecodeListRequest(body []byte) (ListRequest, error) {
	var r ListRequest
	if err := decodeObject(body,
		field{"secret", &r.Secret}, field{"state", &r.State}, field{"limit", &r.Limit}, field{"after", &r.After},
	); err != nil {
		return ListRequest{}, err
	}
	return r.checked()
}

// checked returns r with the default limit, or an [Error] if r is not valid.
func (r ListRequest) checked() (ListRequest, error) {
	if r.Secret != "" {
		if err := CheckToken("secret", r.Secret); err != nil {
			return ListRequest{}, err
		}
	}
	if r.State != "" && !r.State.Valid() {
		return ListRequest{}, Errorf(CodeInvalidRequest, "state must be one of provisioning, active, revoking, revoked, failed")
	}
	if r.Limit < 0 || r.Limit > MaxPage {
		return ListRequest{}, Errorf(CodeInvalidRequest, "limit is %d, it may be 1 to %d", r.Limit, MaxPage)
	}
	if r.Limit == 0 {
		r.Limit = defaultPage
	}
	if r.After != "" {
		if _, err := ParseLeaseName(r.After); err != nil {
			return ListRequest{}, Errorf(CodeInvalidRequest, "after must be the \"next\" of an earlier answer")
		}
	}
	return r, nil
}

// DecodeEmpty returns an [Error] unless the body is empty or {}.
func DecodeEmpty(body []byte) error {
	if decodeObject(body) != nil {
		return Errorf(CodeInvalidRequest, "the body must be empty or {}")
	}
	return nil
}

// CheckIdempotencyKey returns an [Error] unless key is a valid value of
// [HeaderIdempotencyKey]: at most [MaxIdempotencyKey] printable ASCII characters. An
// empty value equals an absent header.
func CheckIdempotencyKey(key string) error {
	if len(key) > MaxIdempotencyKey {
		return Errorf(CodeInvalidRequest, "%s has %d characters, the limit is %d", HeaderIdempotencyKey, len(key), MaxIdempotencyKey)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return Errorf(CodeInvalidRequest, "%s may have only printable ASCII", HeaderIdempotencyKey)
		}
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return Errorf(CodeInvalidRequest, "labels has %d entries, the limit is %d", len(labels), MaxLabels)
	}
	for k, v := range labels {
		if k == "" || len(k) > MaxLabelKey || strings.ContainsFunc(k, func(r rune) bool { return r > '~' || r <= ' ' }) {
			return Errorf(CodeInvalidRequest, "labels: a key has 1 to %d printable ASCII characters without blanks", MaxLabelKey)
		}
		if err := checkText("labels."+k, v, MaxLabelValue); err != nil {
			return err
		}
	}
	return nil
}

func checkText(name, s string, limit int) error {
	if n := utf8.RuneCountInString(s); n > limit {
		return Errorf(CodeInvalidRequest, "%s has %d characters, the limit is %d", name, n, limit)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return Errorf(CodeInvalidRequest, "%s may not have control characters", name)
	}
	return nil
}
