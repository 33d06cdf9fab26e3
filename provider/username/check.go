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

// How a template is tried out.
const (
	// MinRandomShown is how many random letters and digits must show in a name.
	// Eight, with the case ignored, meet like one of 10¹² names: of the 5,000 users
	// that an account may have, a new one has the name once in 300 million times.
	MinRandomShown = 8
	// specimens is how many names for one identity must all be different.
	specimens = 500
	// maxThrows bounds the random characters of a template that are looked at.
	maxThrows = 300
	// maxTrial bounds the time. A template takes some milliseconds, unless it was
	// written to take long.
	maxTrial = 5 * time.Second
)

var errTrialTime = errors.New("takes too long to try out; make the patterns of replace simpler")

// CheckNames renders the template for identities that are hard on it, and often for the
// shortest and the longest, and has each name checked. What like has for identity
// and randomness is not used. It does the same each time.
func (t *Template) CheckNames(like Data, check func(identity, name string) error) error {
	render, end := t.renderer(), time.Now().Add(maxTrial)
	try := func(identity string, seed int) error {
		if time.Now().After(end) {
			return errTrialTime
		}
		like.Identity, like.Rand = identity, chance(seed)
		name, err := render(like)
		if err != nil {
			return fmt.Errorf("for the identity %s: %w", identity, err)
		}
		return check(identity, name)
	}
	for i, identity := range t.hardIdentities() {
		if err := try(identity, i); err != nil {
			return err
		}
	}
	for seed := range specimens {
		if err := try(extremes[seed%len(extremes)], seed); err != nil {
			return err
		}
	}
	return nil
}

// CheckUnique says why two names for the same data might be the same one to a system
// that ignores case: too little of the random part shows. It tries the identities
// of [Template.CheckNames], and does the same each time.
func (t *Template) CheckUnique(like Data) error {
	render, end := t.renderer(), time.Now().Add(maxTrial)
	like.Rand = chance(0)
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

// repeated says whether one of so many names comes twice.
func repeated(render func(Data) (string, error), like Data, names int, end time.Time) (bool, error) {
	seen := map[string]bool{}
	for seed := range names {
		if time.Now().After(end) {
			return false, errTrialTime
		}
		like.Rand = chance(seed)
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

// showing counts the random characters that show in a name, up to
// MinRandomShown: those of which any other letter or digit makes another name.
func showing(render func(Data) (string, error), like Data, end time.Time) (int, error) {
	with := func(d *dice) (string, error) {
		if time.Now().After(end) {
			return "", errTrialTime
		}
		d.at, like.Rand = 0, d
		name, err := render(like)
		return strings.ToLower(name), err
	}
	d := &dice{source: chance(1)}
	name, err := with(d)
	if err != nil {
		return 0, err
	}
	shown := 0
	for i := 0; i < min(d.at, maxThrows) && shown < MinRandomShown; i++ {
		thrown, shows := d.throws[i], true
		for _, other := range others(thrown) {
			d.throws[i] = other
			changed, err := with(d)
			if err != nil {
				return 0, err
			}
			shows = shows && changed != name
		}
		if d.throws[i] = thrown; shows {
			shown++
		}
	}
	return shown, nil
}

// dice are a source of randomness that remembers what it has thrown, and throws
// it again: places in lettersAndDigits.
type dice struct {
	source *rand.ChaCha8
	throws []byte
	at     int
}

func (d *dice) Read(p []byte) (int, error) {
	for i := range p {
		if d.at == len(d.throws) {
			d.throws = append(d.throws, byte(d.source.Uint64()%uint64(len(lettersAndDigits))))
		}
		p[i] = d.throws[d.at]
		d.at++
	}
	return len(p), nil
}

// others are another letter and another digit, as places in lettersAndDigits.
func others(thrown byte) [2]byte {
	const letters = 26
	n := thrown % letters
	return [2]byte{(n + 1) % letters, 2*letters + (n+1)%10}
}

func chance(seed int) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}) // #nosec G115 -- the low bytes are meant
}

// identityCharacters and maxIdentity are the rule for identities
// (messages.CheckToken).
const (
	identityCharacters = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	maxIdentity        = 64
)

// extremes are the shortest identity and two of the longest.
var extremes = []string{"a", strings.Repeat("a", maxIdentity), strings.Repeat("a1_-", maxIdentity/4)}

var identityPiece = regexp.MustCompile(`[a-z0-9_-]+`)

// hardIdentities are identities of every length, with every character alone,
// at each place and beside each other, and of the words in the template's own
// patterns.
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
