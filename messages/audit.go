package messages

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AuditKeys returns the public keys that verify the keyring's signatures, in the order
// of the key file. They are derived for signing alone and open no box.
func (r *Keyring) AuditKeys() []AuditKey {
	keys := make([]AuditKey, len(r.keys))
	for i, k := range r.keys {
		public, _ := k.sign.Public().(ed25519.PublicKey)
		keys[i] = AuditKey{public: public}
	}
	return keys
}

// AuditKey is an Ed25519 public key that verifies a broker's signatures.
type AuditKey struct{ public ed25519.PublicKey }

// ParseAuditKey parses the text of an audit key, as [AuditKey.String] returns it. The
// error is an [Error].
func ParseAuditKey(s string) (AuditKey, error) {
	raw, err := decodeExactly(s, ed25519.PublicKeySize)
	if err != nil {
		return AuditKey{}, Errorf(CodeInvalidRequest, "an audit key has 43 letters, digits, - and _, as \"lessor audit keys\" prints")
	}
	return AuditKey{public: raw}, nil
}

// String returns the key as 43 characters of base64url.
func (k AuditKey) String() string { return base64.RawURLEncoding.EncodeToString(k.public) }

func (k AuditKey) verify(data []byte, signature string) bool {
	raw, err := decodeExactly(signature, ed25519.SignatureSize)
	return err == nil && len(k.public) == ed25519.PublicKeySize && ed25519.Verify(k.public, data, raw)
}

// decodeExactly decodes size bytes from their canonical encoding. encoding/base64 alone
// ignores line breaks, so that a signature would have several texts.
func decodeExactly(s string, size int) ([]byte, error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(size) || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("wrong length, or line breaks")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// SignEvent returns the signature of an event for [HeaderSignature]. It covers the
// subject, the message id (Nats-Msg-Id) and the body.
func (r *Keyring) SignEvent(subject, id string, body []byte) string {
	return r.signature(signedEvent(subject, id, body))
}

func (r *Keyring) signature(data []byte) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(r.keys[0].sign, data))
}

// VerifyEvent reports whether one of the keys made the signature of the event.
func VerifyEvent(keys []AuditKey, subject, id string, body []byte, signature string) bool {
	data := signedEvent(subject, id, body)
	return slices.ContainsFunc(keys, func(k AuditKey) bool { return k.verify(data, signature) })
}

// signedEvent returns the signed bytes of an event. Subjects and ids have no line
// breaks, so that different events have different bytes.
func signedEvent(subject, id string, body []byte) []byte {
	return fmt.Appendf(nil, "lessor event\n%s\n%s\n%s", subject, id, body)
}

// AuditMark is a signed position of the event stream: at that time, Last was its last
// sequence.
type AuditMark struct {
	At        time.Time `json:"at"`
	Last      uint64    `json:"last"` // sequence in the stream
	Signature string    `json:"signature"`
}

// AuditMarks are the marks of an event stream, the oldest first. They are stored in the
// state bucket at [AuditMarksKey].
type AuditMarks struct {
	Version int         `json:"v"`
	Marks   []AuditMark `json:"marks"`
}

// AuditMarksKey is the key of the [AuditMarks] in the state bucket.
const AuditMarksKey = "audit"

// AddMark keeps the newest marks, and one a day of the older ones.
const (
	recentMarks = 6
	maxMarks    = 1000
)

// AddMark returns the marks with a new signed mark and with fewer old ones: one a day,
// and at most 1,000.
func (r *Keyring) AddMark(m AuditMarks, at time.Time, last uint64) AuditMarks {
	mark := AuditMark{At: at.UTC().Truncate(time.Millisecond), Last: last}
	mark.Signature = r.signature(mark.signed())
	kept := []AuditMark{}
	for i, old := range m.Marks {
		recent := i >= len(m.Marks)-recentMarks
		if recent || len(kept) == 0 || old.At.Sub(kept[len(kept)-1].At) >= 24*time.Hour {
			kept = append(kept, old)
		}
	}
	kept = append(kept, mark)
	return AuditMarks{Version: 1, Marks: kept[max(0, len(kept)-maxMarks):]}
}

// Verify reports whether one of the keys signed the mark.
func (m AuditMark) Verify(keys []AuditKey) bool {
	return slices.ContainsFunc(keys, func(k AuditKey) bool { return k.verify(m.signed(), m.Signature) })
}

func (m AuditMark) signed() []byte {
	return fmt.Appendf(nil, "lessor mark\n%d\n%d", m.At.UnixMilli(), m.Last)
}

// DecodeAuditMarks reads stored marks. The error is an [Error] with [CodeInternal].
func DecodeAuditMarks(data []byte) (AuditMarks, error) {
	var m AuditMarks
	if err := json.Unmarshal(data, &m); err != nil || m.Version != 1 {
		return AuditMarks{}, Errorf(CodeInternal, "the audit marks can't be read").Because(err)
	}
	return m, nil
}
