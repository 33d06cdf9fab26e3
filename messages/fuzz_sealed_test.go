package messages_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// FuzzOpenSealedContents seals any text with a valid key. Each function that opens boxes
// accepts only its own kind, and no error shows the text.
func FuzzOpenSealedContents(f *testing.F) {
	for _, plain := range []string{
		sealedContents, `{}`, ``, `null`, `[]`, `{"lease":"alice.ci.06ct"}`, `{"for":"a","value":"` + theSecret + `"}`, `{"for":"put ci AKIAX","value":"x"}`,
		`{"FOR":"a","Value":"x"}`, `{"for":"a","for":"b","value":1}`, `{"credentials":{"secret_access_key":["` + theSecret + `"]}}`,
		`{"expires_at":"` + theSecret + `"}`, `{"credentials":{"secret_access_key":"` + theSecret + `"}} `,
	} {
		f.Add([]byte(plain), "a")
		f.Add([]byte(plain), "put ci AKIAX")
	}
	pair, broker := must(nkeys.FromCurveSeed(seed(2))), ring(seed(2), seed(3))
	f.Fuzz(func(t *testing.T, plain []byte, purpose string) {
		box := must(pair.SealWithRand(plain, publicKey(seed(2)), bytes.NewReader(make([]byte, 24))))
		sealed := &messages.Sealed{From: publicKey(seed(2)), Box: box}

		c, err := messages.OpenSealed(seed(2), sealed)
		own, ownErr := broker.Open(sealed)
		if !reflect.DeepEqual(c, own) || (err == nil) != (ownErr == nil) {
			t.Errorf("the requester opens %+v, %v, and the broker %+v, %v", c, err, own, ownErr)
		}
		wantNothingOf(t, plain, purpose, err)
		if err == nil {
			again, err := broker.Open(must(broker.Seal("", c)))
			if !reflect.DeepEqual(again, c) && err == nil {
				t.Errorf("sealed %+v, opened %+v", c, again)
			}
		}

		value, err := broker.OpenValue(purpose, sealed)
		wantNothingOf(t, plain, purpose, err)
		var is struct{ For, Value string }
		readable := json.Unmarshal(plain, &is) == nil
		if opened := err == nil; opened != (readable && is.For == purpose) || value.Reveal() != "" && value.Reveal() != is.Value {
			t.Errorf("for the purpose %q, %s opens as %q, %v", purpose, plain, value.Reveal(), err)
		}

		// As the secret key of a put, it must be sealed for that definition and key id.
		name, id, _ := strings.Cut(strings.TrimPrefix(purpose, "put "), " ")
		put := messages.SecretPut{Sealed: sealed}
		put.Definition.Name, put.Definition.AWS.Auth.AccessKeyID = name, id
		got, err := broker.Unseal(put)
		wantNothingOf(t, plain, purpose, err)
		if err != nil {
			if !reflect.DeepEqual(got, messages.SecretPut{}) {
				t.Errorf("got an error and a put: %+v", got)
			}
			return
		}
		if !readable || is.For != "put "+name+" "+id || got.Definition.AWS.Auth.SecretAccessKey.Reveal() != is.Value || got.Sealed != nil {
			t.Errorf("%s is accepted for the key %q of %q: %+v", plain, id, name, got)
		}
	})
}

// wantNothingOf fails if the error is not safe, or shows a part of the plaintext of a
// box. Errors may show the purpose.
func wantNothingOf(t *testing.T, plain []byte, purpose string, err error) {
	t.Helper()
	wantSafe(t, err)
	if err != nil {
		wantHidden(t, "the error", err.Error())
	}
	if part := strings.TrimSpace(string(plain)); err != nil && len(part) > 24 && !strings.Contains(purpose, part[:24]) && strings.Contains(err.Error(), part[:24]) {
		t.Errorf("the error shows what is in the box: %v", err)
	}
}

// FuzzUnseal checks that a sealed secret key opens only for its definition and its
// key id.
func FuzzUnseal(f *testing.F) {
	pair := must(nkeys.FromCurveSeed(seed(2)))
	honest := messages.Sealed{
		From: publicKey(seed(2)),
		Box:  must(pair.SealWithRand([]byte(`{"for":"put ci AKIAX","value":"`+theSecret+`"}`), publicKey(seed(1)), bytes.NewReader(make([]byte, 24)))),
	}
	f.Add("ci", "AKIAX", honest.From, honest.Box)
	f.Add("ci", "AKIAY", honest.From, honest.Box)
	f.Add("ci AKIAX", "", honest.From, honest.Box)
	f.Add("ci", "AKIAX", publicKey(seed(1)), honest.Box)
	f.Add("ci", "AKIAX", honest.From, honest.Box[:27])
	f.Add("ci", "AKIAX", "X", []byte("xkv1"))
	broker := ring(seed(1), seed(3))
	f.Fuzz(func(t *testing.T, name, id, from string, box []byte) {
		put := messages.SecretPut{Sealed: &messages.Sealed{From: from, Box: box}}
		put.Definition.Name, put.Definition.AWS.Auth.AccessKeyID = name, id
		got, err := broker.Unseal(put)
		if err != nil {
			wantSafe(t, err)
			wantHidden(t, "the error", err.Error())
			return
		}
		// The fuzzer has no key and can't make another box that opens.
		if from != honest.From || !bytes.Equal(box, honest.Box) || name != "ci" && name+" "+id != "ci AKIAX" || got.Definition.AWS.Auth.SecretAccessKey.Reveal() != theSecret {
			t.Errorf("accepted for %q, %q: a box from %s", name, id, from)
		}
		wantHidden(t, "the put", string(mustJSON(t, got)))
	})
}

// FuzzCheckXKey checks that every accepted key is in its canonical encoding, can be
// sealed for, and does not give two senders the same shared key.
func FuzzCheckXKey(f *testing.F) {
	f.Add(publicKey(seed(1)), make([]byte, 32))
	f.Add(publicKey(seed(1))+"\n", bytes.Repeat([]byte{0xff}, 32))
	f.Add(strings.ToLower(publicKey(seed(1))), append(bytes.Repeat([]byte{0xed}, 1), append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...))
	f.Add(string(seed(1)), []byte{1})
	f.Add("", append([]byte{9}, make([]byte, 31)...))
	f.Fuzz(func(t *testing.T, text string, point []byte) {
		checkXKey(t, text)
		if len(point) == 32 {
			checkXKey(t, string(must(nkeys.Encode(nkeys.PrefixByteCurve, point))))
		}
	})
}

func checkXKey(t *testing.T, xkey string) {
	if err := messages.CheckXKey(xkey); err != nil {
		wantSafe(t, err)
		if len(xkey) > 8 && strings.Contains(err.Error(), xkey) {
			t.Errorf("the error shows a text that may be a seed: %v", err)
		}
		return
	}
	raw, err := nkeys.Decode(nkeys.PrefixByteCurve, []byte(xkey))
	if err != nil || string(must(nkeys.Encode(nkeys.PrefixByteCurve, raw))) != xkey {
		t.Errorf("%q is accepted, and not canonical: %v", xkey, err)
	}
	box, err := ring(seed(1)).Seal(xkey, contents())
	if err != nil {
		t.Fatalf("%q is accepted, but sealing fails: %v", xkey, err)
	}
	// With a point of low order, any key opens the box.
	if _, err := must(nkeys.FromCurveSeed(seed(3))).Open(box.Box, xkey); err == nil {
		t.Errorf("a box for %q opens with another key", xkey)
	}
}
