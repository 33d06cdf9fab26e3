package username

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Parameters of the checks.
const (
	// MinRandomShown is the number of random letters and digits that must show in a name.
	// Eight make one of 10¹² names with the case ignored. With the 5,000 users that an
	// account may have, a new name is taken once in 300 million times.
	MinRandomShown = 8
	// specimens is the number of names for one identity that must all differ.
	specimens = 500
	// maxDrawn bounds the random characters of a template that are tested.
	maxDrawn = 300
	// maxCheck bounds the time of a check. It takes some milliseconds, unless a template was
	// written to take long.
	maxCheck = 5 * time.Second
)

var errCheckTime = errors.New("takes too long to check; make the patterns of replace simpler")

// CheckNames renders the template for identities that are likely to make an invalid name,
// and many times for the shortest and the longest identity. It calls check for each name,
// and returns its first error. like is the other data of the names; its Identity and Rand
// are not used. CheckNames is deterministic.
func (t *Template) CheckNames(like Data, check func(identity, name string) error) error {
	render, end := t.renderer(), time.Now().Add(maxCheck)
	one := func(identity string, seed int) error {
		if time.Now().After(end) {
			return errCheckTime
		}
		like.Identity, like.Rand = identity, random(seed)
		name, err := render(like)
		if err != nil {
			return fmt.Errorf("for the identity %s: %w", identity, err)
		}
		return check(identity, name)
	}
	for i, identity := range t.hardIdentities() {
		if err := one(identity, i); err != nil {
			return err
		}
	}
	for seed := range specimens {
		if err := one(extremes[seed%len(extremes)], seed); err != nil {
			return err
		}
	}
	return nil
}

// CheckUnique returns an error if two names for the same data may be equal in a system that
// ignores case, because too little of the random part shows. It tests the identities of
// [Template.CheckNames], and is deterministic.
func (t *Template) CheckUnique(like Data) error {
	render, end := t.renderer(), time.Now().Add(maxCheck)
	like.Rand = random(0)
	if _, err := render(like); err != nil {
		return err
	}
	for _, identity := range extremes {
		like.Identity = identity
		shown, err := showing(render, like, end)
		if err != nil {
			return err
		}
		if shown < MinRandomShown {
			return tooFew(identity, shown)
		}
	}
	for _, identity := range t.hardIdentities() {
		like.Identity = identity
		if same, err := repeated(render, like, 2, end); err != nil {
			return err
		} else if same {
			return tooFew(identity, 0)
		}
	}
	like.Identity = extremes[0]
	if same, err := repeated(render, like, specimens, end); err != nil {
		return err
	} else if same {
		return fmt.Errorf("makes the same name twice in %d; add {{random 16}}, and don't replace in it", specimens)
	}
	return nil
}

func tooFew(identity string, shown int) error {
	if shown == 0 {
		return fmt.Errorf("for the identity %s it has no randomness, so that two leases would get the same name; "+
			"add {{random 16}}, or set allow_fixed_username", identity)
	}
	return fmt.Errorf("for the identity %s only %d random letters or digits show in the name, and %d must, so that no two leases "+
		"get the same; add {{random 16}}, or set allow_fixed_username", identity, shown, MinRandomShown)
}

// repeated reports whether two of a number of names are equal.
func repeated(render func(Data) (string, error), like Data, names int, end time.Time) (bool, error) {
	seen := map[string]bool{}
	for seed := range names {
		if time.Now().After(end) {
			return false, errCheckTime
		}
		like.Rand = random(seed)
		name, err := render(like)
		if err != nil {
			return false, err
		}
		if name = strings.ToLower(name); seen[name] {
			return true, nil
		}
		seen[name] = true
	}
	return false, nil
}

// showing counts the random characters that show in a name, up to MinRandomShown. A
// character shows if another letter and another digit in its place change the name.
func showing(render func(Data) (string, error), like Data, end time.Time) (int, error) {
	with := func(d *source) (string, error) {
		if time.Now().After(end) {
			return "", errCheckTime
		}
		d.at, like.Rand = 0, d
		name, err := render(like)
		return strings.ToLower(name), err
	}
	d := &source{random: random(1)}
	name, err := with(d)
	if err != nil {
		return 0, err
	}
	shown := 0
	for i := 0; i < min(d.at, maxDrawn) && shown < MinRandomShown; i++ {
		drawn, shows := d.drawn[i], true
		for _, other := range others(drawn) {
			d.drawn[i] = other
			changed, err := with(d)
			if err != nil {
				return 0, err
			}
			shows = shows && changed != name
		}
		if d.drawn[i] = drawn; shows {
			shown++
		}
	}
	return shown, nil
}

// source is a source of randomness that repeats the characters it has drawn before. A
// character is an index of lettersAndDigits.
type source struct {
	random *rand.ChaCha8
	drawn  []byte
	at     int // the next character
}

func (d *source) Read(p []byte) (int, error) {
	for i := range p {
		if d.at == len(d.drawn) {
			d.drawn = append(d.drawn, byte(d.random.Uint64()%uint64(len(lettersAndDigits))))
		}
		p[i] = d.drawn[d.at]
		d.at++
	}
	return len(p), nil
}

// others returns another letter and another digit, as indexes of lettersAndDigits.
func others(drawn byte) [2]byte {
	const letters = 26
	n := drawn % letters
	return [2]byte{(n + 1) % letters, 2*letters + (n+1)%10}
}

// random returns a deterministic source of randomness.
func random(seed int) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}) // #nosec G115 -- only the low bytes are used
}

// The characters and the length of identities, as in messages.CheckToken.
const (
	identityCharacters = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	maxIdentity        = 64
)

// extremes are the shortest identity and two of the longest.
var extremes = []string{"a", strings.Repeat("a", maxIdentity), strings.Repeat("a1_-", maxIdentity/4)}

var identityPiece = regexp.MustCompile(`[a-z0-9_-]+`)

// hardIdentities returns identities of every length, with every character alone, in every
// place and next to every other, and with the words of the template's own patterns.
func (t *Template) hardIdentities() []string {
	const c, n = identityCharacters, len(identityCharacters)
	hard := slices.Clone(extremes)
	for i := range n {
		one := c[i : i+1]
		hard = append(hard, one, strings.Repeat(one, maxIdentity), (c[i:] + c + c)[:maxIdentity])
		var beside strings.Builder
		for j := range n {
			beside.WriteString(one + c[j:j+1])
		}
		hard = append(hard, beside.String()[:maxIdentity], beside.String()[2*n-maxIdentity:])
	}
	for i := range maxIdentity {
		hard = append(hard, (c + c)[:i+1])
	}
	for i, word := range identityPiece.FindAllString(strings.ToLower(t.parsed.Root.String()), -1) {
		if i < maxIdentity && len(word) <= maxIdentity {
			hard = append(hard, word, strings.Repeat(word, maxIdentity)[:maxIdentity])
		}
	}
	return hard
}
