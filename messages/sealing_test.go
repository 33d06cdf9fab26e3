package messages_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// seed returns the curve seed (SX…) number n.
func seed(n byte) []byte {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = n + byte(i)
	}
	return must(nkeys.EncodeSeed(nkeys.PrefixByteCurve, raw))
}

// publicKey returns the curve public key (X…) of a seed.
func publicKey(seed []byte) string {
	return must(must(nkeys.FromCurveSeed(seed)).PublicKey())
}

// ring returns a keyring of the seeds, the newest first.
func ring(seeds ...[]byte) *messages.Keyring {
	return must(messages.ParseKeyring(bytes.Join(seeds, []byte("\n"))))
}

func contents() messages.Contents {
	return messages.Contents{
		Lease: "alice.ci.06ct", Identity: "alice", ExpiresAt: noon.Add(time.Hour), Credentials: credentials(),
	}
}

func TestOnlyTheRecipientOpensTheBox(t *testing.T) {
	broker, requester, other := ring(seed(1)), seed(2), seed(3)
	box := must(broker.Seal(publicKey(requester), contents()))
	if box.From != publicKey(seed(1)) {
		t.Errorf("sealed by %s", box.From)
	}
	if bytes.Contains(box.Box, []byte(theSecret)) {
		t.Error("the secret key is in clear in the box")
	}
	got, err := messages.OpenSealed(requester, box)
	if err != nil || !reflect.DeepEqual(got, contents()) {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = messages.OpenSealed(other, box)
	wantCode(t, err, messages.CodeInvalidRequest, "does not open")
	_, err = broker.Open(box)
	wantCode(t, err, messages.CodeInvalidRequest, "does not open")
}

func TestOnlyTheBrokerOpensWhatItSealedForItself(t *testing.T) {
	broker := ring(seed(1))
	box := must(broker.Seal("", contents()))
	got, err := broker.Open(box)
	if err != nil || !reflect.DeepEqual(got, contents()) {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = messages.OpenSealed(seed(2), box)
	wantCode(t, err, messages.CodeInvalidRequest)
	_, err = ring(seed(2)).Open(box)
	wantCode(t, err, messages.CodeInternal, box.From)
}

func TestEqualContentsMakeDifferentBoxes(t *testing.T) {
	broker := ring(seed(1))
	for _, recipient := range []string{"", publicKey(seed(2))} {
		one, other := must(broker.Seal(recipient, contents())), must(broker.Seal(recipient, contents()))
		if bytes.Equal(one.Box, other.Box) {
			t.Errorf("for %q the same contents make the same box: a nonce is used twice", recipient)
		}
	}
}

func TestErrorForAnUnknownKeyIsShort(t *testing.T) {
	_, err := ring(seed(1)).Open(&messages.Sealed{From: "X\r\n\x1b" + strings.Repeat("A", 10_000)})
	wantCode(t, err, messages.CodeInternal)
	if strings.ContainsAny(err.Error(), "\r\n\x1b") || len(err.Error()) > 300 {
		t.Errorf("got %.400q", err)
	}
}

func TestBoxesUseFreshNonces(t *testing.T) {
	broker := ring(seed(1))
	a, b := must(broker.Seal("", contents())), must(broker.Seal("", contents()))
	if bytes.Equal(a.Box, b.Box) || bytes.Equal(a.Box[4:28], b.Box[4:28]) {
		t.Error("two boxes with one nonce")
	}
	if !bytes.HasPrefix(a.Box, []byte("xkv1")) {
		t.Errorf("the box begins with %q", a.Box[:4])
	}
}

func TestTamperedBoxDoesNotOpen(t *testing.T) {
	broker := ring(seed(1))
	box := must(broker.Seal(publicKey(seed(2)), contents()))
	open := func(name string, s messages.Sealed) {
		c, err := messages.OpenSealed(seed(2), &s)
		wantCode(t, err, messages.CodeInvalidRequest)
		wantSafe(t, err)
		if !reflect.DeepEqual(c, messages.Contents{}) {
			t.Errorf("%s: got an error and contents: %+v", name, c)
		}
	}
	for i := range box.Box {
		changed := slices.Clone(box.Box)
		changed[i] ^= 1
		open("a bit changed", messages.Sealed{From: box.From, Box: changed})
	}
	for _, n := range []int{0, 1, 3, 4, 27, 28, 29, 43, 44, len(box.Box) / 2, len(box.Box) - 1} {
		open("cut off", messages.Sealed{From: box.From, Box: box.Box[:n]})
	}
	open("longer", messages.Sealed{From: box.From, Box: append(slices.Clone(box.Box), 0)})
	open("from another", messages.Sealed{From: publicKey(seed(3)), Box: box.Box})
	open("without a sender", messages.Sealed{Box: box.Box})
	open("from something else", messages.Sealed{From: strings.Repeat("X", 1000), Box: box.Box})
	open("from a line break", messages.Sealed{From: box.From[:5] + "\n" + box.From[5:], Box: box.Box})
}

func TestBoxWithoutCredentialsIsRefused(t *testing.T) {
	broker := must(nkeys.FromCurveSeed(seed(1)))
	for _, plain := range []string{"", "hello", "[]", `"` + theSecret + `"`, `{"credentials":{"secret_access_key":1}}`} {
		box := must(broker.Seal([]byte(plain), publicKey(seed(2))))
		_, err := messages.OpenSealed(seed(2), &messages.Sealed{From: publicKey(seed(1)), Box: box})
		wantCode(t, err, messages.CodeInvalidRequest)
		if strings.Contains(err.Error(), theSecret) {
			t.Errorf("the error shows what was sealed: %v", err)
		}
	}
}

func TestOpenSealedTakesOnlyCurveSeeds(t *testing.T) {
	box := must(ring(seed(1)).Seal(publicKey(seed(2)), contents()))
	user := must(must(nkeys.CreateUser()).Seed())
	for name, s := range map[string][]byte{
		"nothing": nil, "a public key": []byte(publicKey(seed(2))), "a user's seed": user,
		"half a seed": seed(2)[:30], "not for this purpose": []byte("SXNOTASEED"),
	} {
		_, err := messages.OpenSealed(s, box)
		wantCode(t, err, messages.CodeInvalidRequest, "seed")
		if len(s) > 5 && strings.Contains(err.Error(), string(s[5:])) {
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
}

// sealedContents is the plaintext of contents().
const sealedContents = `{"lease":"alice.ci.06ct","identity":"alice","expires_at":"2026-11-22T13:00:00Z",` +
	`"credentials":{"access_key_id":"AKIAX","secret_access_key":"` + theSecret + `","session_token":"","username":"lessor-alice-x","region":"us-east-1"}}`

// Clients in other languages read this format.
func TestContentsFormatIsStable(t *testing.T) {
	box := must(ring(seed(1)).Seal(publicKey(seed(2)), contents()))
	plain := must(must(nkeys.FromCurveSeed(seed(2))).Open(box.Box, box.From))
	if string(plain) != sealedContents {
		t.Errorf("got\n%s, want\n%s", plain, sealedContents)
	}
}

func TestSealedJSON(t *testing.T) {
	s := messages.Sealed{From: "XABC", Box: []byte{0xff, 0xfe, 1}}
	data := mustJSON(t, s)
	if string(data) != `{"from":"XABC","box":"//4B"}` {
		t.Errorf("got %s", data)
	}
	var back messages.Sealed
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestFirstKeySealsAndOldKeysOpen(t *testing.T) {
	before := ring(seed(1))
	box := must(before.Seal("", contents()))
	after := ring(seed(2), seed(1))
	if c, err := after.Open(box); err != nil || !reflect.DeepEqual(c, contents()) {
		t.Errorf("the old key's box: %+v, %v", c, err)
	}
	fresh := must(after.Seal("", contents()))
	if fresh.From != publicKey(seed(2)) {
		t.Errorf("sealed by %s, which is not the first", fresh.From)
	}
	if _, err := after.Open(fresh); err != nil {
		t.Error(err)
	}
	_, err := before.Open(fresh)
	wantCode(t, err, messages.CodeInternal)
	_, err = ring(seed(2)).Open(box)
	wantCode(t, err, messages.CodeInternal, publicKey(seed(1)))
	// Boxes for requesters are from the new key, too.
	if s := must(after.Seal(publicKey(seed(3)), contents())); s.From != publicKey(seed(2)) {
		t.Errorf("sealed by %s", s.From)
	}
}

func TestParseKeyring(t *testing.T) {
	one, two := string(seed(1)), string(seed(2))
	for name, c := range map[string]struct {
		file string
		keys int
	}{
		"one line":             {one, 1},
		"with a line break":    {one + "\n", 1},
		"Windows' line breaks": {one + "\r\n" + two + "\r\n", 2},
		"blanks around":        {"  " + one + "\t\n\n \n" + two, 2},
		"comments":             {"# today's\n" + one + "\n  # before\n" + two + "\n#" + one, 2},
	} {
		r, err := messages.ParseKeyring([]byte(c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := len(r.ConfirmTokens("alice.ci.06ct", 1)); n != c.keys {
			t.Errorf("%s: %d keys, want %d", name, n, c.keys)
		}
		if s := must(r.Seal("", contents())); s.From != publicKey(seed(1)) {
			t.Errorf("%s: the first line does not seal", name)
		}
	}
}

func TestParseKeyringErrorsNeverShowAKey(t *testing.T) {
	one := string(seed(1))
	user := string(must(must(nkeys.CreateUser()).Seed()))
	for name, c := range map[string]struct {
		file  string
		words string
	}{
		"empty":                 {"", "lessor key new"},
		"only comments":         {"# none\n\n", "lessor key new"},
		"a public key":          {publicKey(seed(1)), "line 1"},
		"a user's seed":         {one + "\n" + user, "line 2"},
		"cut off":               {"\n\n" + one[:len(one)-1], "line 3"},
		"one letter other":      {one[:20] + "A" + one[21:], "line 1"},
		"two on a line":         {one + " " + one, "line 1"},
		"a comment behind":      {one + " # mine", "line 1"},
		"lower case":            {strings.ToLower(one), "line 1"},
		"a line without end":    {one + "\n" + strings.Repeat("A", 100_000) + "\n", ""},
		"a comment without end": {one + "\n#" + strings.Repeat("A", 100_000) + "\nnot a key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := messages.ParseKeyring([]byte(c.file))
			wantCode(t, err, messages.CodeInvalidRequest, c.words)
			wantSafe(t, err)
			for line := range strings.Lines(c.file) {
				if s := strings.TrimSpace(line); len(s) > 8 && strings.Contains(err.Error(), s[3:8]) {
					t.Errorf("the error shows a part of the key: %v", err)
				}
			}
		})
	}
}

func TestNewKeyIsAValidKeyFile(t *testing.T) {
	a, b := must(messages.NewKey()), must(messages.NewKey())
	if bytes.Equal(a, b) {
		t.Error("two new keys are equal")
	}
	r, err := messages.ParseKeyring(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(must(r.Seal("", contents()))); err != nil {
		t.Error(err)
	}
}

func TestConfirmTokensDifferByLeaseAttemptAndKey(t *testing.T) {
	r := ring(seed(1))
	seen := map[string]bool{}
	for _, s := range [][]byte{seed(1), seed(2)} {
		for _, lease := range []string{"alice.ci.06ct", "alice.ci.06cu", "bob.ci.06ct", "alice.ci.06ct1", "alice.ci.06c", ""} {
			for _, attempt := range []int{1, 2, 11, 12} {
				token := ring(s).ConfirmToken(lease, attempt)
				if seen[token] {
					t.Errorf("%s, attempt %d has the token of another", lease, attempt)
				}
				seen[token] = true
				if err := messages.CheckToken("token", token); err != nil || len(token) != 26 {
					t.Errorf("%q is no token: %v", token, err)
				}
				if again := ring(s).ConfirmToken(lease, attempt); again != token {
					t.Errorf("%s, then %s", token, again)
				}
			}
		}
	}
	// Replicas of different versions must accept the same tokens.
	if got, want := r.ConfirmToken("alice.ci.06ct", 1), "3w11w0t88shahy48vb1qfmhbxm"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestConfirmTokensIncludeOldKeys(t *testing.T) {
	old, rotated := ring(seed(1)), ring(seed(2), seed(1))
	want := []string{ring(seed(2)).ConfirmToken("alice.ci.06ct", 1), old.ConfirmToken("alice.ci.06ct", 1)}
	if got := rotated.ConfirmTokens("alice.ci.06ct", 1); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := rotated.ConfirmToken("alice.ci.06ct", 1); got != want[0] {
		t.Errorf("made with an old key: %s", got)
	}
}

// A box states its lease, so that it can't be used in the reply for another lease.
func TestBoxStatesItsLease(t *testing.T) {
	broker, requester := ring(seed(1)), seed(2)
	mine := must(broker.Seal(publicKey(requester), contents()))
	other := contents()
	other.Lease, other.Identity, other.ExpiresAt = "bob.ci.07du", "bob", noon.Add(9*time.Hour)
	theirs := must(broker.Seal(publicKey(requester), other))
	a, b := must(messages.OpenSealed(requester, mine)), must(messages.OpenSealed(requester, theirs))
	if a.Lease == b.Lease || a.Identity == b.Identity || a.ExpiresAt.Equal(b.ExpiresAt) || b.Lease != "bob.ci.07du" {
		t.Errorf("they say %s of %s and %s of %s", a.Lease, a.Identity, b.Lease, b.Identity)
	}
}
