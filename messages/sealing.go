package messages

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/nacl/box"
)

// Sealed is a NaCl box in the format of nkeys: "xkv1", a nonce of 24 bytes, and the
// box. Only the recipient's key opens it.
type Sealed struct {
	From string `json:"from"` // the sender's curve public key, "X…"
	Box  []byte `json:"box"`
}

// Contents is the plaintext of a [Sealed]. A NaCl box has no associated data, so the
// box states its lease. The recipient must check name and identity, and that the
// lease does not end before ExpiresAt.
type Contents struct {
	Lease       string      `json:"lease"`
	Identity    string      `json:"identity"`
	ExpiresAt   time.Time   `json:"expires_at"`
	Credentials Credentials `json:"credentials"`
}

// Keyring holds the broker's curve keys. The first key seals and signs; all keys open
// boxes. It seals the credentials in lease records, authenticates confirm subjects
// and signs events. A Keyring may be used by several goroutines.
type Keyring struct {
	keys []ringKey
}

type ringKey struct {
	pair   nkeys.KeyPair
	public string
	own    *[32]byte          // precomputed shared key of the key with itself
	mac    []byte             // HMAC key of the confirm tokens
	sign   ed25519.PrivateKey // signs events and audit marks
}

// NewKey returns a new key for a broker, as a line for [ParseKeyring].
func NewKey() ([]byte, error) {
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, err
	}
	return pair.Seed()
}

// ParseKeyring reads a key file: one curve seed ("SX…") a line, the newest first.
// Blank lines and lines that begin with "#" are skipped. The error is an [Error] and
// contains no part of the file.
func ParseKeyring(file []byte) (*Keyring, error) {
	var r Keyring
	s := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		k, err := newRingKey(line)
		if err != nil {
			return nil, Errorf(CodeInvalidRequest, "line %d of the key file is not a curve seed (SX…)", n)
		}
		r.keys = append(r.keys, k)
	}
	if err := s.Err(); err != nil {
		return nil, Errorf(CodeInvalidRequest, "the key file can't be read").Because(err)
	}
	if len(r.keys) == 0 {
		return nil, Errorf(CodeInvalidRequest, "the key file has no key; make one with \"lessor key new\"")
	}
	return &r, nil
}

func newRingKey(seed []byte) (k ringKey, err error) {
	if k.pair, err = nkeys.FromCurveSeed(seed); err != nil {
		return k, err
	}
	if k.public, err = k.pair.PublicKey(); err != nil {
		return k, err
	}
	_, private, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return k, err
	}
	defer clear(private)
	public, err := nkeys.Decode(nkeys.PrefixByteCurve, []byte(k.public))
	if err != nil {
		return k, err
	}
	k.own = new([32]byte)
	box.Precompute(k.own, (*[32]byte)(public), (*[32]byte)(private))
	k.mac = derive(seed, "lessor confirm token")
	signing := derive(seed, "lessor event signature")
	defer clear(signing)
	k.sign = ed25519.NewKeyFromSeed(signing)
	return k, nil
}

// sealOwn seals for the key itself. It returns what pair.Seal returns, without a
// scalar multiplication for each box.
func (k *ringKey) sealOwn(plain []byte) []byte {
	var nonce [24]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	head := append([]byte(nkeys.XKeyVersionV1), nonce[:]...)
	return box.SealAfterPrecomputation(head, plain, &nonce, k.own)
}

// derive returns a key for another use. The seed can't be computed from it.
func derive(seed []byte, use string) []byte {
	m := hmac.New(sha256.New, seed)
	m.Write([]byte(use))
	return m.Sum(nil)
}

// Wipe overwrites the keys. The keyring must not be used afterwards.
func (r *Keyring) Wipe() {
	for i := range r.keys {
		k := &r.keys[i]
		k.pair.Wipe()
		clear(k.own[:])
		clear(k.mac)
		clear(k.sign)
	}
	r.keys = nil
}

// PublicKeys returns the curve public keys ("X…"), in the order of the key file.
func (r *Keyring) PublicKeys() []string {
	public := make([]string, len(r.keys))
	for i, k := range r.keys {
		public[i] = k.public
	}
	return public
}

// Seal seals contents for the recipient, a curve public key that [CheckXKey] accepts.
// If recipient is "", it seals for the keyring itself.
func (r *Keyring) Seal(recipient string, c Contents) (*Sealed, error) {
	first := &r.keys[0]
	plain, err := json.Marshal(struct {
		Contents
		Credentials *wireCredentials `json:"credentials"`
	}{c, c.Credentials.wire()})
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if recipient == "" {
		return &Sealed{From: first.public, Box: first.sealOwn(plain)}, nil
	}
	sealed, err := first.pair.Seal(plain, recipient)
	if err != nil {
		return nil, err
	}
	return &Sealed{From: first.public, Box: sealed}, nil
}

// Open opens a box that the keyring sealed for itself. It returns an [Error] if the
// key is not in the keyring or the box is damaged.
func (r *Keyring) Open(s *Sealed) (Contents, error) {
	k, err := r.key(s.From)
	if err != nil {
		return Contents{}, err
	}
	return openWith(k.pair, s)
}

func (r *Keyring) key(public string) (ringKey, error) {
	for _, k := range r.keys {
		if k.public == public {
			return k, nil
		}
	}
	return ringKey{}, Errorf(CodeInternal, "sealed by the broker's key %s, which is not in the key file", Printable(public))
}

// value is the plaintext of [Keyring.SealValue]. It states its purpose, so that one
// box can't replace another.
type value struct {
	For   string `json:"for"`
	Value string `json:"value"`
}

// SealValue seals a secret value for the keyring itself. [Keyring.OpenValue] needs
// the same purpose to open it.
func (r *Keyring) SealValue(purpose string, v Sensitive) (*Sealed, error) {
	return sealValue(r.keys[0].pair, r.keys[0].public, r.keys[0].public, purpose, v)
}

// sealValue seals a secret value for a purpose, from one key to another.
func sealValue(pair nkeys.KeyPair, from, to, purpose string, v Sensitive) (*Sealed, error) {
	plain, err := json.Marshal(value{For: purpose, Value: v.Reveal()})
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	sealed, err := pair.Seal(plain, to)
	if err != nil {
		return nil, err
	}
	return &Sealed{From: from, Box: sealed}, nil
}

// OpenValue returns the value that [Keyring.SealValue] sealed. It returns an [Error]
// if the key is not in the keyring, the box is damaged, or its purpose is another.
func (r *Keyring) OpenValue(purpose string, s *Sealed) (Sensitive, error) {
	k, err := r.key(s.From)
	if err != nil {
		return Sensitive{}, err
	}
	return openValue(k.pair, s, purpose)
}

func openValue(pair nkeys.KeyPair, s *Sealed, purpose string) (Sensitive, error) {
	plain, err := pair.Open(s.Box, s.From)
	if err != nil {
		return Sensitive{}, Errorf(CodeInternal, "the sealed value for %s does not open with the broker's key", Printable(purpose)).Because(err)
	}
	defer clear(plain)
	var v value
	if err := json.Unmarshal(plain, &v); err != nil || v.For != purpose {
		return Sensitive{}, Errorf(CodeInternal, "the sealed value for %s is not for this purpose", Printable(purpose))
	}
	return NewSensitive(v.Value), nil
}

// OpenSealed opens a box with the recipient's curve seed ("SX…"). The error is an
// [Error]. The caller must check the [Contents] against the lease of the reply.
func OpenSealed(seed []byte, s *Sealed) (Contents, error) {
	pair, err := nkeys.FromCurveSeed(seed)
	if err != nil {
		return Contents{}, Errorf(CodeInvalidRequest, "the seed is not a curve seed (SX…)")
	}
	defer pair.Wipe()
	if err := CheckXKey(s.From); err != nil {
		return Contents{}, err
	}
	return openWith(pair, s)
}

func openWith(pair nkeys.KeyPair, s *Sealed) (Contents, error) {
	plain, err := pair.Open(s.Box, s.From)
	if err != nil {
		return Contents{}, Errorf(CodeInvalidRequest, "the box does not open with this key").Because(err)
	}
	defer clear(plain)
	var c Contents
	if err := json.Unmarshal(plain, &c); err != nil {
		return Contents{}, Errorf(CodeInvalidRequest, "the box does not contain credentials").Because(err)
	}
	return c, nil
}

// ConfirmToken returns the last token of a delivery's confirm subject. It proves that
// the broker made the subject, for this lease and attempt. It is not stored, so that
// reading the record does not reveal it.
func (r *Keyring) ConfirmToken(lease string, attempt int) string {
	return r.keys[0].confirmToken(lease, attempt)
}

// ConfirmTokens returns the confirm tokens of all keys, in the order of the key file.
func (r *Keyring) ConfirmTokens(lease string, attempt int) []string {
	tokens := make([]string, len(r.keys))
	for i, k := range r.keys {
		tokens[i] = k.confirmToken(lease, attempt)
	}
	return tokens
}

func (k ringKey) confirmToken(lease string, attempt int) string {
	m := hmac.New(sha256.New, k.mac)
	_ = json.NewEncoder(m).Encode([]any{lease, attempt}) // writing to a hash never fails
	return confirmEncoding.EncodeToString(m.Sum(nil)[:16])
}

// confirmEncoding encodes 16 bytes as a subject token of 26 characters.
var confirmEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// xkeyLength is the length of a curve public key. nkeys alone would ignore line breaks
// in the text, and a character after it.
const xkeyLength = 56

// CheckXKey returns an [Error] unless xkey is a curve public key in its canonical
// encoding whose point is not of low order. With a point of low order the shared key
// is public; nkeys does not check for it.
func CheckXKey(xkey string) error {
	if len(xkey) != xkeyLength || !strings.HasPrefix(xkey, "X") || !nkeys.IsValidPublicCurveKey(xkey) {
		return Errorf(CodeInvalidRequest, "xkey must be a curve public key (X…), as \"nk -gen curve -pubout\" makes")
	}
	raw, err := nkeys.Decode(nkeys.PrefixByteCurve, []byte(xkey))
	if err != nil {
		return Errorf(CodeInvalidRequest, "xkey must be a curve public key (X…)")
	}
	point, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return Errorf(CodeInvalidRequest, "xkey must be a curve public key (X…)")
	}
	scalar, err := anyScalar()
	if err != nil {
		return Errorf(CodeInternal, "xkey could not be checked").Because(err)
	}
	if _, err := scalar.ECDH(point); err != nil {
		return Errorf(CodeInvalidRequest, "xkey is a point of low order: the box would open without a key")
	}
	if !canonical(raw) {
		return Errorf(CodeInvalidRequest, "xkey is not the canonical encoding of a curve public key (X…)")
	}
	return nil
}

// anyScalar returns a scalar that detects points of low order: its product with one
// is zero, and ECDH returns an error.
var anyScalar = sync.OnceValues(func() (*ecdh.PrivateKey, error) {
	probe := sha256.Sum256([]byte("any scalar does: the product with a point of low order is zero"))
	return ecdh.X25519().NewPrivateKey(probe[:])
})

// canonical reports whether the point, little-endian, is below the prime 2^255-19.
// X25519 reduces others to the same point.
func canonical(point []byte) bool {
	low := point[0] >= 0xed
	for _, b := range point[1:31] {
		low = low && b == 0xff
	}
	return point[31] < 0x7f || point[31] == 0x7f && !low
}
