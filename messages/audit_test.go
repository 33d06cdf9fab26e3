package messages_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func TestSignatureCoversSubjectIDAndBody(t *testing.T) {
	broker := ring(seed(1))
	keys := broker.AuditKeys()
	const subject, id = "lessor.event.alice.ci.06ct.issued", "alice.ci.06ct.1.issued"
	body := []byte(`{"specversion":"1.0"}`)
	s := broker.SignEvent(subject, id, body)
	if !messages.VerifyEvent(keys, subject, id, body, s) {
		t.Fatal("the signature does not verify")
	}
	for name, forged := range map[string]bool{
		"another subject":         messages.VerifyEvent(keys, strings.Replace(subject, "alice", "bob", 1), id, body, s),
		"another id":              messages.VerifyEvent(keys, subject, id+"1", body, s),
		"another body":            messages.VerifyEvent(keys, subject, id, append(body, ' '), s),
		"no signature":            messages.VerifyEvent(keys, subject, id, body, ""),
		"half of it":              messages.VerifyEvent(keys, subject, id, body, s[:43]),
		"a line break in it":      messages.VerifyEvent(keys, subject, id, body, s[:4]+"\r"+s[4:]),
		"a line break at its end": messages.VerifyEvent(keys, subject, id, body, s+"\n"),
		"another broker's key":    messages.VerifyEvent(ring(seed(2)).AuditKeys(), subject, id, body, s),
		"no key":                  messages.VerifyEvent(nil, subject, id, body, s),
		"a key of nothing":        messages.VerifyEvent([]messages.AuditKey{{}}, subject, id, body, s),
		"a mark's signature":      messages.VerifyEvent(keys, subject, id, body, broker.AddMark(messages.AuditMarks{}, noon, 7).Marks[0].Signature),
	} {
		if forged {
			t.Errorf("%s: it verifies", name)
		}
	}
	// All keys verify; the first signs.
	if !messages.VerifyEvent(ring(seed(2), seed(1)).AuditKeys(), subject, id, body, s) {
		t.Error("the signature of an old key does not verify")
	}
	if messages.VerifyEvent(keys, subject, id, body, ring(seed(2), seed(1)).SignEvent(subject, id, body)) {
		t.Error("the first key does not sign")
	}
}

func TestAuditKeysRoundTrip(t *testing.T) {
	for _, k := range ring(seed(1), seed(2)).AuditKeys() {
		back, err := messages.ParseAuditKey(k.String())
		if err != nil || back.String() != k.String() || len(k.String()) != 43 {
			t.Errorf("%s: decoded again: %s, %v", k, back, err)
		}
	}
	key := ring(seed(1)).AuditKeys()[0].String()
	for _, s := range []string{"", "x", key + "\n", key[:20] + "\r" + key[20:], strings.Repeat("A", 42), strings.Repeat("A", 44), publicKey(seed(1)), string(seed(1))} {
		if _, err := messages.ParseAuditKey(s); err == nil {
			t.Errorf("%q is accepted", s)
		} else if len(s) > 5 && strings.Contains(err.Error(), s) {
			t.Error("the error shows a text that may be a seed")
		}
	}
}

func TestAddMarkKeepsTheNewestAndOneADay(t *testing.T) {
	broker := ring(seed(1))
	var m messages.AuditMarks
	for i := range 1000 {
		m = broker.AddMark(m, noon.Add(time.Duration(i)*10*time.Minute), uint64(i))
	}
	days := 1000 * 10 * time.Minute / (24 * time.Hour)
	if n := len(m.Marks); n < int(days)+6 || n > int(days)+9 {
		t.Errorf("%d marks of %d days", n, days)
	}
	if first, last := m.Marks[0], m.Marks[len(m.Marks)-1]; first.Last != 0 || last.Last != 999 {
		t.Errorf("the first is %d and the last %d", first.Last, last.Last)
	}
	back := must(messages.DecodeAuditMarks(mustJSON(t, m)))
	for i, mark := range back.Marks {
		if !mark.Verify(broker.AuditKeys()) || mark.Verify(ring(seed(2)).AuditKeys()) {
			t.Fatalf("mark %d does not verify as it should", i)
		}
		mark.Last++
		if mark.Verify(broker.AuditKeys()) {
			t.Fatal("a changed mark verifies")
		}
		if i > 0 && !mark.At.After(back.Marks[i-1].At) {
			t.Fatal("the marks are not in order")
		}
	}
	for range 3000 {
		m = broker.AddMark(m, m.Marks[len(m.Marks)-1].At.Add(24*time.Hour), 1)
	}
	if n := len(m.Marks); n > 1000 {
		t.Errorf("%d marks: the number is not bounded", n)
	}
	if _, err := messages.DecodeAuditMarks([]byte(`{"v":2}`)); err == nil {
		t.Error("marks of another version are accepted")
	}
}

func TestSealedPutOpensOnlyForTheBrokerAndItsDefinition(t *testing.T) {
	broker := ring(seed(2), seed(1))
	put := fullPut()
	sealed := must(put.Seal(publicKey(seed(1)))) // an old key
	data := must(sealed.Encode())
	if strings.Contains(string(data), theSecret) || strings.Contains(string(data), "secret_access_key") {
		t.Fatalf("the key is in clear: %s", data)
	}
	if put.Definition.AWS.Auth.SecretAccessKey.Reveal() != theSecret {
		t.Error("Seal changed the put")
	}
	got := must(messages.DecodeSecretPut(data))
	opened := must(broker.Unseal(got))
	if opened.Definition.AWS.Auth.SecretAccessKey.Reveal() != theSecret || opened.Sealed != nil {
		t.Errorf("opened to %+v", opened)
	}
	changed := func(change func(*messages.SecretPut)) messages.SecretPut { p := got; change(&p); return p }
	for name, p := range map[string]messages.SecretPut{
		"another name":   changed(func(p *messages.SecretPut) { p.Definition.Name = "db" }),
		"another key id": changed(func(p *messages.SecretPut) { p.Definition.AWS.Auth.AccessKeyID = "AKIAY" }),
		"another sender": changed(func(p *messages.SecretPut) { p.Sealed = &messages.Sealed{From: publicKey(seed(3)), Box: p.Sealed.Box} }),
		"no sender":      changed(func(p *messages.SecretPut) { p.Sealed = &messages.Sealed{Box: p.Sealed.Box} }),
		"cut off":        changed(func(p *messages.SecretPut) { p.Sealed = &messages.Sealed{From: p.Sealed.From, Box: p.Sealed.Box[:40]} }),
	} {
		p, err := broker.Unseal(p)
		wantCode(t, err, messages.CodeInvalidRequest, "sealed")
		wantSafe(t, err)
		if !p.Definition.AWS.Auth.SecretAccessKey.IsZero() {
			t.Errorf("%s: got an error and a key", name)
		}
	}
	_, err := ring(seed(3)).Unseal(got)
	wantCode(t, err, messages.CodeInvalidRequest)
	_, err = put.Seal("XNOKEY")
	wantCode(t, err, messages.CodeInvalidRequest)
	both := strings.Replace(string(data), `"access_key_id":"AKIAX"`, `"access_key_id":"AKIAX","secret_access_key":"x"`, 1)
	_, err = messages.DecodeSecretPut([]byte(both))
	wantCode(t, err, messages.CodeInvalidRequest, "exclude each other")
}

func TestWipedKeyringHasNoKeys(t *testing.T) {
	r := ring(seed(1))
	r.Wipe()
	if len(r.PublicKeys())+len(r.AuditKeys()) != 0 {
		t.Error("the keyring still has keys")
	}
}
