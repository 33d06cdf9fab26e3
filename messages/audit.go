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

// The keys that sign are derived from those of the key file, and their public halves
// open nothing: who has them can verify events and no more.

// AuditKeys are the public halves of the keys that sign events, the one that signs
// first.
func (r *Keyring) AuditKeys() []AuditKey {
	keys := make([]AuditKey, len(r.keys))
	for i, k := range r.keys {
		public, _ := k.sign.Public().(ed25519.PublicKey)
		keys[i] = AuditKey{public: public}
	}
	return keys
}

// AuditKey verifies what a broker signed.
type AuditKey struct{ public ed25519.PublicKey }

// ParseAuditKey reads an audit key, as String writes it.
func ParseAuditKey(s string) (AuditKey, error) {
	raw, err := decodeExactly(s, ed25519.PublicKeySize)
	if err != nil {
		return AuditKey{}, Errorf(CodeInvalidRequest, "an audit key has 43 letters, digits, - and _, as \"lessor audit keys\" prints")
	}
	return AuditKey{public: raw}, nil
}

// String writes the key in 43 characters.
func (k AuditKey) String() string { return base64.RawURLEncoding.EncodeToString(k.public) }

func (k AuditKey) verify(data []byte, signature string) bool {
	raw, err := decodeExactly(signature, ed25519.SignatureSize)
	return err == nil && len(k.public) == ed25519.PublicKeySize && ed25519.Verify(k.public, data, raw)
}

// decodeExactly reads the one spelling of so many bytes: base64 alone would read over
// line breaks, and a signature that is stored again could look like another.
func decodeExactly(s string, size int) ([]byte, error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(size) || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("it is of another length, or has line breaks")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// SignEvent signs an event as it is published: its subject, its message id and its
// body. The signature goes into [HeaderSignature].
func (r *Keyring) SignEvent(subject, id string, body []byte) string {
	return r.signature(signedEvent(subject, id, body))
}

func (r *Keyring) signature(data []byte) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(r.keys[0].sign, data))
}

// VerifyEvent says whether one of the keys signed the event.
func VerifyEvent(keys []AuditKey, subject, id string, body []byte, signature string) bool {
	data := signedEvent(subject, id, body)
	return slices.ContainsFunc(keys, func(k AuditKey) bool { return k.verify(data, signature) })
}

// signedEvent is what a signature is under. Neither subjects nor ids have line
// breaks, so that no two events are the same here.
func signedEvent(subject, id string, body []byte) []byte {
	return fmt.Appendf(nil, "lessor event\n%s\n%s\n%s", subject, id, body)
}

// AuditMark says where the event stream stood at a time: no event up to Last came
// later, and none after it earlier.
type AuditMark struct {
	At        time.Time `json:"at"`
	Last      uint64    `json:"last"` // sequence in the stream
	Signature string    `json:"signature"`
}

// AuditMarks are what the brokers have noted of the event stream, the oldest first,
// as it stands in the state bucket at [AuditMarksKey].
type AuditMarks struct {
	Version int         `json:"v"`
	Marks   []AuditMark `json:"marks"`
}

// AuditMarksKey is the key of the [AuditMarks] in the state bucket.
const AuditMarksKey = "audit"

// What is kept of the marks: the newest, and of those before one a day.
const (
	recentMarks = 6
	maxMarks    = 1000
)

// AddMark adds a mark, signed, and thins out those that are there.
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

// Verify says whether one of the keys signed the mark.
func (m AuditMark) Verify(keys []AuditKey) bool {
	return slices.ContainsFunc(keys, func(k AuditKey) bool { return k.verify(m.signed(), m.Signature) })
}

func (m AuditMark) signed() []byte {
	return fmt.Appendf(nil, "lessor mark\n%d\n%d", m.At.UnixMilli(), m.Last)
}

// DecodeAuditMarks reads the marks.
func DecodeAuditMarks(data []byte) (AuditMarks, error) {
	var m AuditMarks
	if err := json.Unmarshal(data, &m); err != nil || m.Version != 1 {
		return AuditMarks{}, Errorf(CodeInternal, "what is noted of the event stream can't be read").Because(err)
	}
	return m, nil
}
