package messages_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// smallOrder are all encodings of points of small order: X25519 ignores the highest bit
// and reduces values above the prime (RFC 7748).
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // 0, of order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // 1, of order 1
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // of order 8
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", // of order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1, of order 2
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, which is 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, which is 1
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestCheckXKeyRefusesPointsOfLowOrder(t *testing.T) {
	for _, point := range smallOrder {
		key := string(must(nkeys.Encode(nkeys.PrefixByteCurve, must(hex.DecodeString(point)))))
		wantCode(t, messages.CheckXKey(key), messages.CodeInvalidRequest, "low order")
		_, err := messages.DecodeLeaseRequest([]byte(`{"xkey":"` + key + `"}`))
		wantCode(t, err, messages.CodeInvalidRequest, "xkey")

		// With such a point, two senders compute the same shared key.
		a, b := must(nkeys.FromCurveSeed(seed(1))), must(nkeys.FromCurveSeed(seed(2)))
		box, err := a.Seal([]byte("x"), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Open(box, key); err != nil {
			t.Errorf("%s is not of low order", point)
		}
		// A box from such a key does not authenticate its sender.
		_, err = messages.OpenSealed(seed(2), &messages.Sealed{From: key, Box: box})
		wantCode(t, err, messages.CodeInvalidRequest, "low order")
	}
}

func TestCheckXKey(t *testing.T) {
	for n := range byte(100) {
		if err := messages.CheckXKey(publicKey(seed(n))); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	key := publicKey(seed(1))
	long := string(must(nkeys.Encode(nkeys.PrefixByteCurve, make([]byte, 64))))
	short := string(must(nkeys.Encode(nkeys.PrefixByteCurve, make([]byte, 31))))
	for name, k := range map[string]string{
		"empty": "", "a seed": string(seed(1)), "a user's key": must(must(nkeys.CreateUser()).PublicKey()),
		"an account's key": must(must(nkeys.CreateAccount()).PublicKey()), "lower case": strings.ToLower(key),
		"cut off": key[:55], "longer": key + "A", "one letter other": key[:20] + "Q" + key[21:],
		"padded": key + "====", "a blank before": " " + key, "a line break behind": key + "\n", "a line break within": key[:9] + "\r\n" + key[9:],
		"64 bytes": long, "31 bytes": short, "10 kB": "X" + strings.Repeat("A", 10_000), "only X": "X",
	} {
		err := messages.CheckXKey(k)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantCode(t, err, messages.CodeInvalidRequest, "xkey")
		wantSafe(t, err)
		if len(k) > 5 && strings.Contains(err.Error(), k) {
			t.Errorf("%s: the error shows a text that may be a seed: %v", name, err)
		}
	}
}

// nonCanonical are encodings at or above the prime. No curve seed has such a public key.
var nonCanonical = []string{
	"f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+9, which is 9, the base point
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+18
	"0900000000000000000000000000000000000000000000000000000000000080", // 9, with the bit that is ignored
	"f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestCheckXKeyRefusesNonCanonicalEncodings(t *testing.T) {
	encode := func(point string) string {
		return string(must(nkeys.Encode(nkeys.PrefixByteCurve, must(hex.DecodeString(point)))))
	}
	for _, point := range nonCanonical {
		wantCode(t, messages.CheckXKey(encode(point)), messages.CodeInvalidRequest, "canonical")
	}
	for _, point := range []string{
		"0900000000000000000000000000000000000000000000000000000000000000",
		"ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-2
		"ecfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe7f",
		"edfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe7f",
	} {
		if err := messages.CheckXKey(encode(point)); err != nil {
			t.Errorf("%s is refused: %v", point, err)
		}
	}
}
