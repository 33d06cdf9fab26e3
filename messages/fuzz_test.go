package messages_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// fuzzBody fuzzes a decoder of bodies: its errors are short *messages.Error values, and
// the result can be encoded and decoded again.
func fuzzBody[V any](f *testing.F, decode func([]byte) (V, error), more func(*testing.T, V), seeds ...string) {
	for _, s := range append(seeds, "", "{}", "null", "[]", `{"a":1}`, `{"a":{"b":[1,2]}} x`, "{\"\\u0061\":\xff}") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(bytes.Clone(data))
		if err != nil {
			wantSafe(t, err)
			if !reflect.ValueOf(v).IsZero() {
				t.Errorf("got an error and a result: %+v", v)
			}
			return
		}
		once := mustJSON(t, v)
		again, err := decode(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice := mustJSON(t, again); !bytes.Equal(once, twice) {
			t.Errorf("decoded again: got\n%s, want\n%s", twice, once)
		}
		more(t, v)
	})
}

func FuzzDecodeLeaseRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeLeaseRequest, func(t *testing.T, r messages.LeaseRequest) {
		if r.ReadyWithin > messages.MaxReadyWithin || len(r.Labels) > messages.MaxLabels || r.TTL > messages.MaxDuration || r.TTL < 0 {
			t.Errorf("above a limit: %+v", r)
		}
		if r.XKey != "" {
			if _, err := ring(seed(1)).Seal(r.XKey, contents()); err != nil {
				t.Errorf("accepted, but sealing fails: %v", err)
			}
		}
		moved := r
		moved.Deadline = noon
		if moved.Fingerprint() != r.Fingerprint() {
			t.Error("the deadline is in the fingerprint")
		}
	},
		`{"ttl": "15m", "xkey": "`+xkey+`", "confirm": true, "ready_within": "20s", "deadline": "2026-11-22T22:00:30Z", "labels": {"job": "1234"}}`,
		`{"ttl":null,"labels":{"a":"\u2028"}}`, `{"deadline":"9999-12-31T23:59:59-01:00"}`, `{"deadline":"0000-01-01T00:00:00+23:59"}`,
		`{"xkey":"`+xkey[:9]+`\n`+xkey[9:]+`"}`, `{"ready_within":"61s"}`, `{"ttl":"1h","ttl":"2h"}`)
}

func FuzzDecodeRenewRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeRenewRequest, func(t *testing.T, r messages.RenewRequest) {
		if r.TTL > messages.MaxDuration || r.TTL < 0 {
			t.Errorf("above a limit: %+v", r)
		}
	}, `{"ttl":"1h","clamp":true}`, `{"ttl":"3650d"}`, `{"ttl":"3650d","clamp":true}`, `{"ttl":"59s"}`, `{"clamp":"true"}`)
}

// FuzzCheckIdempotencyKey checks that a valid key is short and printable.
func FuzzCheckIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", "k", "build-17", " ", "a\r\nb", "\x7f", strings.Repeat("k", messages.MaxIdempotencyKey+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := messages.CheckIdempotencyKey(key); err != nil {
			wantSafe(t, err)
			return
		}
		if len(key) > messages.MaxIdempotencyKey || strings.ContainsAny(key, "\r\n\x00\x7f") {
			t.Errorf("accepted: %q", key)
		}
	})
}

func FuzzDecodeRevokeRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeRevokeRequest, func(t *testing.T, r messages.RevokeRequest) {
		if utf8.RuneCountInString(r.Reason) > messages.MaxReason || strings.ContainsAny(r.Reason, "\r\n\x00\x1b") || !utf8.ValidString(r.Reason) {
			t.Errorf("accepted: %q", r.Reason)
		}
	}, `{"reason":"job finished"}`, `{"reason":"\u0000"}`, `{"reason":"\ud800"}`, `{"reason":"`+strings.Repeat("é", 257)+`"}`)
}

func FuzzDecodeListRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeListRequest, func(t *testing.T, r messages.ListRequest) {
		if r.Limit < 1 || r.Limit > messages.MaxPage {
			t.Errorf("the limit is %d", r.Limit)
		}
		if strings.ContainsAny(r.Secret+r.After, "*> \r\n") {
			t.Errorf("accepted: %+v", r)
		}
	}, `{"secret":"ci","state":"active","limit":100,"after":"alice.ci.06ct"}`, `{"limit":501}`, `{"limit":-1}`, `{"limit":1e2}`, `{"after":"*.*.*"}`)
}

func FuzzDecodeReply(f *testing.F) {
	for _, s := range []string{
		`{"kind":"credentials","lease":{"name":"a.b.c"},"credentials":{"access_key_id":"AKIAX","secret_access_key":"s"},"ready":true}`,
		`{"kind":"credentials","sealed":{"from":"X","box":"AAAA"}}`, `{"kind":"error","error":{"code":"internal","message":"no","retryable":true}}`,
		`{"kind":"error"}`, `{"kind":"leases","leases":[],"next":"a.b.c"}`, `{}`, `null`, ``, `{"kind":"x","credentials":{"secret_access_key":null}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := messages.DecodeReply(data)
		if err != nil {
			wantSafe(t, err)
			return
		}
		once, err := r.Encode()
		if err != nil {
			return // a time that JSON can read and not write
		}
		back, err := messages.DecodeReply(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice := must(back.Encode()); !bytes.Equal(once, twice) {
			t.Errorf("decoded again: got\n%s, want\n%s", twice, once)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	e := messages.NewEvent("5kf3", messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct"}, messages.EventFailed, "1", noon, messages.EventData{Error: messages.Errorf(messages.CodeInternal, "no")})
	f.Add(must(json.Marshal(e)))
	f.Add([]byte(`{"specversion":"1.0","type":"a"}`))
	f.Add([]byte(`{"specversion":"0.3","type":"a\r\nb"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := messages.DecodeEvent(data)
		if err != nil {
			wantSafe(t, err)
			return
		}
		once, err := json.Marshal(e)
		if err != nil {
			return // a time that JSON can read and not write
		}
		back, err := messages.DecodeEvent(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice := mustJSON(t, back); !bytes.Equal(once, twice) {
			t.Errorf("decoded again: got\n%s, want\n%s", twice, once)
		}
	})
}

func FuzzParseLeaseName(f *testing.F) {
	for _, s := range []string{"alice.ci.06ct", "..", "a.b.c.d", "A.b.c", "*.*.>", "аlice.ci.1", strings.Repeat("a", 65) + ".b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := messages.ParseLeaseName(s)
		if err != nil {
			wantSafe(t, err)
			return
		}
		if n.String() != s {
			t.Errorf("%q reads as %q", s, n)
		}
		// The subjects are literal and match the filter of their stream alone.
		var ns messages.Namespace
		if !matches(ns.VerbFilter(messages.VerbRevoke), ns.Revoke(n)) || strings.ContainsAny(s, "*> \t\r\n") {
			t.Errorf("%q makes the subject %q", s, ns.Revoke(n))
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90s", "15m", "1h", "7d", "2w", "1h30m", "3650d", "3651d", "-1s", "1.5h", "9223372036854775807w", "0000000000000000000000000000001s", "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := messages.ParseDuration(s)
		if err != nil {
			if len(err.Error()) > 100 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		if d < 0 || d > messages.MaxDuration || d.Std()%time.Second != 0 {
			t.Errorf("%q is %d", s, d)
		}
		if back, err := messages.ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%q is %s, which reads as %s, %v", s, d, back, err)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	f.Add(seed(1))
	f.Add(bytes.Join([][]byte{[]byte("# new"), seed(2), nil, seed(1)}, []byte("\r\n")))
	f.Add([]byte(publicKey(seed(1))))
	f.Add([]byte(strings.ToLower(string(seed(1)))))
	f.Add([]byte("#\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := messages.ParseKeyring(file)
		if err != nil {
			wantSafe(t, err)
			if len(err.Error()) > 150 {
				t.Errorf("the error has %d bytes, of what may be a key", len(err.Error()))
			}
			return
		}
		box, err := r.Seal("", contents())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := r.Open(box); err != nil || !reflect.DeepEqual(c, contents()) {
			t.Errorf("got %+v, %v", c, err)
		}
		if all := r.ConfirmTokens("alice.ci.06ct", 1); all[0] != r.ConfirmToken("alice.ci.06ct", 1) {
			t.Errorf("the first key's token is not the first: %v", all)
		}
	})
}

func FuzzCheckReply(f *testing.F) {
	for _, s := range []string{
		"_INBOX.x", "_INBOX_alice.x", "_INBOX_bob.x", "_R_.x.y", "lessor.deliver.alice.x", "lessor.deliver.bob.x", "$KV.x", "_INBOX.>", "_INBOX.*",
		"_INBOX..x", "_INBOX.x\r\n", "_INBOX.", "",
	} {
		f.Add("alice", s)
	}
	f.Add("a", "_INBOX_ab.x")
	f.Add("a", "lessor.deliver.ab.x")
	f.Fuzz(func(t *testing.T, identity, subject string) {
		if messages.CheckToken("identity", identity) != nil {
			t.Skip()
		}
		var n messages.Namespace
		if err := n.CheckReply(identity, subject); err != nil {
			wantSafe(t, err)
			if len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		parts := strings.Split(subject, ".")
		first := parts[0]
		own := first == "_INBOX_"+identity || (first == "lessor" && parts[1] == "deliver" && len(parts) > 3 && parts[2] == identity)
		if !own && first != "_INBOX" && first != "_R_" {
			t.Errorf("%s may have %q", identity, subject)
		}
		for _, p := range parts {
			if p == "" || p == "*" || p == ">" || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("not a literal subject: %q", subject)
			}
		}
		if len(parts) < 2 || len(subject) > 512 {
			t.Errorf("accepted: %q", subject)
		}
		if own && n.CheckReply(identity+"0", subject) == nil {
			t.Errorf("%q is for %s, and for another", subject, identity)
		}
	})
}

func FuzzOpenSealed(f *testing.F) {
	// The box must be the same in all processes of the fuzzer.
	broker := must(nkeys.FromCurveSeed(seed(1)))
	box := messages.Sealed{
		From: publicKey(seed(1)),
		Box:  must(broker.SealWithRand([]byte(sealedContents), publicKey(seed(2)), bytes.NewReader(make([]byte, 24)))),
	}
	f.Add(seed(2), box.From, box.Box)
	f.Add(seed(3), box.From, box.Box)
	f.Add(seed(2), publicKey(seed(3)), box.Box)
	f.Add(seed(2), box.From, box.Box[:30])
	f.Add([]byte("SX"), "X", []byte("xkv1"))
	f.Fuzz(func(t *testing.T, seed []byte, from string, sealed []byte) {
		s := messages.Sealed{From: from, Box: sealed}
		c, err := messages.OpenSealed(bytes.Clone(seed), &s)
		if err != nil {
			wantSafe(t, err)
			if !reflect.DeepEqual(c, messages.Contents{}) {
				t.Errorf("got an error and contents: %+v", c)
			}
			return
		}
		// The fuzzer has no key and can't make another box that opens.
		if from != box.From || !bytes.Equal(sealed, box.Box) || !reflect.DeepEqual(c, contents()) {
			t.Errorf("a box from %s opened: %+v", from, c)
		}
	})
}

// FuzzDecodeEmpty checks that only empty bodies and {} are accepted.
func FuzzDecodeEmpty(f *testing.F) {
	for _, s := range []string{"", "{}", " {}\n", "null", "[]", "{}{}", `{"a":1}`, "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := messages.DecodeEmpty(body)
		wantSafe(t, err)
		if left := strings.Trim(strings.TrimSpace(string(body)), "{} \t\r\n"); err == nil && left != "" {
			t.Errorf("%q is accepted", body)
		}
	})
}
