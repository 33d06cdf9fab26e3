package messages_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

func TestSealedValueRoundTrips(t *testing.T) {
	broker := ring(seed(1))
	for _, value := range []string{theSecret, "", " ", `a"\b`, "<&>\u2028é", strings.Repeat("k", 10_000)} {
		for _, purpose := range []string{"connection.ci", "", `<&>"\`, strings.Repeat("p", 1000)} {
			box := must(broker.SealValue(purpose, messages.NewSensitive(value)))
			if box.From != publicKey(seed(1)) || !bytes.HasPrefix(box.Box, []byte("xkv1")) {
				t.Errorf("sealed by %s: %.4q", box.From, box.Box)
			}
			if len(value) > 1 && bytes.Contains(box.Box, []byte(value)) {
				t.Errorf("%.20q is in clear in the box", value)
			}
			// The box is stored as JSON.
			var stored messages.Sealed
			if err := json.Unmarshal(mustJSON(t, box), &stored); err != nil {
				t.Fatal(err)
			}
			got, err := broker.OpenValue(purpose, &stored)
			if err != nil || got.Reveal() != value || got.IsZero() != (value == "") {
				t.Errorf("%.20q for %.20q: got %.20q, %v", value, purpose, got.Reveal(), err)
			}
		}
	}
}

// Sealed values are stored in buckets, so the format must not change.
func TestSealedValueFormatIsStable(t *testing.T) {
	box := must(ring(seed(1)).SealValue("connection.ci", messages.NewSensitive(theSecret)))
	plain := must(must(nkeys.FromCurveSeed(seed(1))).Open(box.Box, box.From))
	if want := `{"for":"connection.ci","value":"` + theSecret + `"}`; string(plain) != want {
		t.Errorf("got\n%s, want\n%s", plain, want)
	}
}

func TestSealedValuesUseFreshNonces(t *testing.T) {
	broker := ring(seed(1))
	a, b := must(broker.SealValue("a", messages.NewSensitive(theSecret))), must(broker.SealValue("a", messages.NewSensitive(theSecret)))
	if bytes.Equal(a.Box[4:28], b.Box[4:28]) {
		t.Error("two boxes with one nonce")
	}
}

// wantNoValue fails if the box opens for the purpose, or the error shows the value.
func wantNoValue(t *testing.T, name string, r *messages.Keyring, purpose string, s messages.Sealed, words ...string) {
	t.Helper()
	got, err := r.OpenValue(purpose, &s)
	wantCode(t, err, messages.CodeInternal, words...)
	wantSafe(t, err)
	wantHidden(t, name, err.Error())
	if !got.IsZero() {
		t.Errorf("%s: got an error and a value: %q", name, got.Reveal())
	}
}

func TestSealedValueOpensOnlyForItsPurpose(t *testing.T) {
	broker := ring(seed(1))
	box := must(broker.SealValue("connection.ci", messages.NewSensitive(theSecret)))
	for _, other := range []string{
		"", "connection", "connection.", "connection.c", "connection.cd", "connection.cii", "connection.ci.", "connection.ci ", " connection.ci",
		"Connection.ci", "connection.CI", "connection.ci\x00", "connection_ci", "ci", strings.Repeat("x", 10_000), "a\r\nb",
	} {
		wantNoValue(t, "for "+other, broker, other, *box, "not for this purpose")
	}
}

func TestSealedValueOpensAfterAKeyRotation(t *testing.T) {
	before, after := ring(seed(1)), ring(seed(2), seed(1))
	old := must(before.SealValue("a", messages.NewSensitive(theSecret)))
	if got, err := after.OpenValue("a", old); err != nil || got.Reveal() != theSecret {
		t.Errorf("the old key's box: %q, %v", got.Reveal(), err)
	}
	fresh := must(after.SealValue("a", messages.NewSensitive(theSecret)))
	if fresh.From != publicKey(seed(2)) {
		t.Errorf("sealed by %s, which is not the first", fresh.From)
	}
	// Every key opens its boxes, at any position.
	for i, r := range []*messages.Keyring{ring(seed(1), seed(2), seed(3)), ring(seed(3), seed(1), seed(2)), ring(seed(3), seed(2), seed(1))} {
		for _, box := range []*messages.Sealed{old, fresh} {
			if got, err := r.OpenValue("a", box); err != nil || got.Reveal() != theSecret {
				t.Errorf("ring %d: %q, %v", i, got.Reveal(), err)
			}
		}
	}
	wantNoValue(t, "the new key's box", before, "a", *fresh, publicKey(seed(2)))
	wantNoValue(t, "the dropped key's box", ring(seed(2)), "a", *old, publicKey(seed(1)))
}

func TestTamperedSealedValueDoesNotOpen(t *testing.T) {
	broker := ring(seed(1), seed(2))
	box := must(broker.SealValue("a", messages.NewSensitive(theSecret)))
	for i := range box.Box {
		changed := slices.Clone(box.Box)
		changed[i] ^= 1
		wantNoValue(t, "a bit changed", broker, "a", messages.Sealed{From: box.From, Box: changed}, "does not open")
	}
	for n := range box.Box {
		wantNoValue(t, "cut off", broker, "a", messages.Sealed{From: box.From, Box: box.Box[:n]}, "does not open")
	}
	wantNoValue(t, "longer", broker, "a", messages.Sealed{From: box.From, Box: append(slices.Clone(box.Box), 0)}, "does not open")
	wantNoValue(t, "from another of the broker's keys", broker, "a", messages.Sealed{From: publicKey(seed(2)), Box: box.Box}, "does not open")
	wantNoValue(t, "from an unknown key", broker, "a", messages.Sealed{From: publicKey(seed(3)), Box: box.Box}, publicKey(seed(3)))
	wantNoValue(t, "without a sender", broker, "a", messages.Sealed{Box: box.Box})
	wantNoValue(t, "from a long text", broker, "a", messages.Sealed{From: strings.Repeat("X\n", 10_000), Box: box.Box})
}

// A box of one kind must not open as the other.
func TestSealedValuesAndDeliveriesAreDistinct(t *testing.T) {
	broker := ring(seed(1))
	wantNoValue(t, "a delivery", broker, "a", *must(broker.Seal("", contents())), "not for this purpose")
	got, err := broker.Open(must(broker.SealValue("a", messages.NewSensitive(theSecret))))
	if err == nil && !reflect.DeepEqual(got, messages.Contents{}) {
		t.Errorf("opened as a delivery: %+v", got)
	}
	own := must(nkeys.FromCurveSeed(seed(1)))
	for _, plain := range []string{"", "hello", "[]", `"` + theSecret + `"`, `{"for":"a","value":7}`, `{"for":7,"value":"` + theSecret + `"}`, `{"value":"` + theSecret + `"}`, `{"for":"a","value":"` + theSecret} {
		box := must(own.Seal([]byte(plain), publicKey(seed(1))))
		wantNoValue(t, plain, broker, "a", messages.Sealed{From: publicKey(seed(1)), Box: box}, "not for this purpose")
	}
}
