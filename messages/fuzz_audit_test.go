package messages_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func FuzzParseAuditKey(f *testing.F) {
	key := ring(seed(1)).AuditKeys()[0].String()
	for _, s := range []string{key, key[:42], key + "A", key + "=", " " + key, key[:42] + "\n", strings.Repeat("A", 43), strings.Repeat("_", 43), "", string(seed(1)), publicKey(seed(1))} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := messages.ParseAuditKey(s)
		if err != nil {
			wantSafe(t, err)
			if len(s) > 8 && strings.Contains(err.Error(), s) {
				t.Errorf("the error shows what may be a seed: %v", err)
			}
			return
		}
		if k.String() != s || len(s) != 43 {
			t.Errorf("%q is a second encoding of %q", s, k)
		}
		// No other key verifies the signature.
		if s != key && messages.VerifyEvent([]messages.AuditKey{k}, "a", "b", []byte("c"), ring(seed(1)).SignEvent("a", "b", []byte("c"))) {
			t.Errorf("%q verifies the signature of another key", s)
		}
	})
}

// FuzzVerifyEvent replaces the parts of a signed event and its signature. Subjects and
// ids have no line breaks, because NATS refuses them.
func FuzzVerifyEvent(f *testing.F) {
	const subject, id, body = "lessor.event.alice.ci.06ct.issued", "alice.ci.06ct.1.issued", `{"specversion":"1.0"}`
	broker := ring(seed(1))
	signature := broker.SignEvent(subject, id, []byte(body))
	f.Add(subject, id, []byte(body), signature)
	f.Add(subject, id, []byte(body), signature+"\n")
	f.Add(subject, id, []byte(body+" "), signature)
	f.Add("lessor.event.bob.ci.06ct.issued", id, []byte(body), signature)
	f.Add(subject, "", []byte(id+"\n"+body), signature)
	f.Add(subject, id, []byte(body), broker.AddMark(messages.AuditMarks{}, noon, 1).Marks[0].Signature)
	f.Add("", "", []byte(nil), "")
	f.Fuzz(func(t *testing.T, subject2, id2 string, body2 []byte, signature2 string) {
		if strings.ContainsAny(subject2+id2, "\r\n") {
			return
		}
		same := subject2 == subject && id2 == id && string(body2) == body
		// An Ed25519 signature is deterministic and has one encoding.
		if messages.VerifyEvent(broker.AuditKeys(), subject2, id2, body2, signature2) != (same && signature2 == signature) {
			t.Errorf("%q, %q, %q: wrong result for the signature %q", subject2, id2, body2, signature2)
		}
		own := broker.SignEvent(subject2, id2, body2)
		if !messages.VerifyEvent(ring(seed(2), seed(1)).AuditKeys(), subject2, id2, body2, own) || own == signature && !same {
			t.Errorf("%q, %q, %q: signed as %q", subject2, id2, body2, own)
		}
		if (messages.AuditMark{At: noon, Last: 1, Signature: own}).Verify(broker.AuditKeys()) {
			t.Error("the signature of an event verifies as that of a mark")
		}
	})
}

// FuzzDecodeAuditMarks decodes marks from the bucket and adds the next one, as a broker
// does.
func FuzzDecodeAuditMarks(f *testing.F) {
	broker := ring(seed(1))
	marks := messages.AuditMarks{}
	for i := range 20 {
		marks = broker.AddMark(marks, noon.Add(time.Duration(i)*7*time.Hour), uint64(i))
	}
	f.Add(must(json.Marshal(marks)))
	for _, s := range []string{
		``, `{}`, `null`, `{"v":1}`, `{"v":2}`, `{"v":1,"marks":[{}]}`, `{"v":1,"marks":[null,{"at":"9999-12-31T23:59:59-23:59","last":18446744073709551615,"signature":"` + strings.Repeat("A", 86) + `"}]}`,
		`{"v":1,"marks":[{"at":"0000-01-01T00:00:00+23:59","last":-1}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := messages.DecodeAuditMarks(data)
		if err != nil {
			wantSafe(t, err)
			return
		}
		for _, mark := range m.Marks {
			if mark.Verify(broker.AuditKeys()) && !bytes.Contains(data, []byte(mark.Signature)) {
				t.Errorf("an unsigned mark verifies: %+v", mark)
			}
		}
		next := broker.AddMark(m, noon, 7)
		last := next.Marks[len(next.Marks)-1]
		if len(next.Marks) > len(m.Marks)+1 || len(next.Marks) > 1000 || !last.Verify(broker.AuditKeys()) || !last.At.Equal(noon) || last.Last != 7 {
			t.Errorf("%d marks become %d, the last %+v", len(m.Marks), len(next.Marks), last)
		}
	})
}
