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

// Sealed is a box that only one key opens: NaCl's box as nkeys writes it
// ("xkv1", 24 bytes of nonce, the box), from the key From.
type Sealed struct {
	From string `json:"from"` // the sender's curve public key, "X…"
	Box  []byte `json:"box"`
}

// Contents is what a [Sealed] holds. NaCl's box has no associated data, so the
// lease stands inside: check name and identity, and that the lease does not end
// before ExpiresAt.
type Contents struct {
	Lease       string      `json:"lease"`
	Identity    string      `json:"identity"`
	ExpiresAt   time.Time   `json:"expires_at"`
	Credentials Credentials `json:"credentials"`
}

// Keyring holds the broker's own keys: the first seals, all open. It protects
// what waits in a record for its delivery, and proves confirm subjects.
type Keyring struct {
	keys []ringKey
}

type ringKey struct {
	pair   nkeys.KeyPair
	public string
	own    *[32]byte          // what the key shares with itself: it seals each lease's credentials once for its own keyring
	mac    []byte             // key of the confirm tokens
	sign   ed25519.PrivateKey // signs events
}

// NewKey makes a broker's key: a line for [ParseKeyring].
func NewKey() ([]byte, error) {
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, err
	}
	return pair.Seed()
}

// ParseKeyring reads a key file: one curve seed ("SX…") a line, the newest
// first. Blank lines and lines that begin with "#" are skipped.
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

// sealOwn is what the pair's Seal makes for the key itself, without multiplying
// points each time.
func (k *ringKey) sealOwn(plain []byte) []byte {
	var nonce [24]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	head := append([]byte(nkeys.XKeyVersionV1), nonce[:]...)
	return box.SealAfterPrecomputation(head, plain, &nonce, k.own)
}

// derive makes a key of another use from a seed. What it protects tells nothing of
// the seed.
func derive(seed []byte, use string) []byte {
	m := hmac.New(sha256.New, seed)
	m.Write([]byte(use))
	return m.Sum(nil)
}

// Wipe overwrites the keys. The keyring can't be used any more.
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

// PublicKeys are the public halves of the keys, the one that seals first.
func (r *Keyring) PublicKeys() []string {
	public := make([]string, len(r.keys))
	for i, k := range r.keys {
		public[i] = k.public
	}
	return public
}

// Seal puts contents in a box for the holder of the curve public key, or, where
// recipient is "", for this keyring itself.
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

// Open opens a box that the keyring sealed for itself.
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

// kept is what [Keyring.SealValue] puts in a box: what it is for stands inside, so that
// a box can't be put in another's place.
type kept struct {
	For   string `json:"for"`
	Value string `json:"value"`
}

// SealValue seals a secret value for the keyring itself. What it is for must be given
// again to get it back.
func (r *Keyring) SealValue(purpose string, value Sensitive) (*Sealed, error) {
	return keep(r.keys[0].pair, r.keys[0].public, r.keys[0].public, purpose, value)
}

// keep seals a secret value for a purpose, from one key to another.
func keep(pair nkeys.KeyPair, from, to, purpose string, value Sensitive) (*Sealed, error) {
	plain, err := json.Marshal(kept{For: purpose, Value: value.Reveal()})
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

// OpenValue returns what [Keyring.SealValue] sealed.
func (r *Keyring) OpenValue(purpose string, s *Sealed) (Sensitive, error) {
	k, err := r.key(s.From)
	if err != nil {
		return Sensitive{}, err
	}
	return openKept(k.pair, s, purpose)
}

func openKept(pair nkeys.KeyPair, s *Sealed, purpose string) (Sensitive, error) {
	plain, err := pair.Open(s.Box, s.From)
	if err != nil {
		return Sensitive{}, Errorf(CodeInternal, "what is kept for %s does not open with the broker's key", Printable(purpose)).Because(err)
	}
	defer clear(plain)
	var v kept
	if err := json.Unmarshal(plain, &v); err != nil || v.For != purpose {
		return Sensitive{}, Errorf(CodeInternal, "what is kept for %s is something else", Printable(purpose))
	}
	return NewSensitive(v.Value), nil
}

// OpenSealed opens a box with the recipient's curve seed ("SX…").
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
		return Contents{}, Errorf(CodeInvalidRequest, "the box holds something else than credentials").Because(err)
	}
	return c, nil
}

// ConfirmToken is the last token of a delivery's confirm subject: proof that the
// broker made it, for this lease and attempt. It is computed and not stored, so
// that a reader of the record does not learn it.
func (r *Keyring) ConfirmToken(lease string, attempt int) string {
	return r.keys[0].confirmToken(lease, attempt)
}

// ConfirmTokens are the tokens that any of the keys would have made, the present
// one first.
func (r *Keyring) ConfirmTokens(lease string, attempt int) []string {
	tokens := make([]string, len(r.keys))
	for i, k := range r.keys {
		tokens[i] = k.confirmToken(lease, attempt)
	}
	return tokens
}

func (k ringKey) confirmToken(lease string, attempt int) string {
	m := hmac.New(sha256.New, k.mac)
	_ = json.NewEncoder(m).Encode([]any{lease, attempt}) // a hash takes every write
	return confirmEncoding.EncodeToString(m.Sum(nil)[:16])
}

// confirmEncoding makes 16 bytes a subject token of 26 characters.
var confirmEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// xkeyLength is that of the one spelling of a curve public key: nkeys would read
// over line breaks in it, and a letter behind it.
const xkeyLength = 56

// CheckXKey says whether a requester's xkey can be sealed for: a curve public
// key whose point is not of low order. With a point of low order the shared key
// is known to everybody, and nkeys takes it without complaint.
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
		return Errorf(CodeInvalidRequest, "xkey is a point of low order: anybody could open the box")
	}
	if !canonical(raw) {
		return Errorf(CodeInvalidRequest, "xkey is another spelling of a curve public key (X…), which no curve seed has")
	}
	return nil
}

// anyScalar is what points are multiplied with to see whether they are of low order.
var anyScalar = sync.OnceValues(func() (*ecdh.PrivateKey, error) {
	probe := sha256.Sum256([]byte("any scalar does: the product with a point of low order is zero"))
	return ecdh.X25519().NewPrivateKey(probe[:])
})

// canonical says whether a point has its one spelling: below the prime 2^255-19,
// little-endian. X25519 reads others as the same point.
func canonical(point []byte) bool {
	low := point[0] >= 0xed
	for _, b := range point[1:31] {
		low = low && b == 0xff
	}
	return point[31] < 0x7f || point[31] == 0x7f && !low
}
