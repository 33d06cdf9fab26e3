package messages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// fuzzBody checks a decoder of bodies: an error is ours and short, and what is
// read can be written and reads the same.
func fuzzBody[V any](f *testing.F, decode func([]byte) (V, error), more func(*testing.T, V), seeds ...string) {
	for _, s := range append(seeds, "", "{}", "null", "[]", `{"a":1}`, `{"a":{"b":[1,2]}} x`, "{\"\\u0061\":\xff}") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(bytes.Clone(data))
		if err != nil {
			wantSafe(t, err)
			if !reflect.ValueOf(v).IsZero() {
				t.Errorf("an error, and a result: %+v", v)
			}
			return
		}
		once := mustJSON(t, v)
		again, err := decode(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice := mustJSON(t, again); !bytes.Equal(once, twice) {
			t.Errorf("came back as\n%s, was\n%s", twice, once)
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
				t.Errorf("taken, and can't be sealed for: %v", err)
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
	r := settledLease()
	fuzzBody(f, messages.DecodeRenewRequest, func(t *testing.T, q messages.RenewRequest) {
		end, err := r.RenewalEnd(q, noon, minute)
		if err != nil {
			wantSafe(t, err)
		} else if _, err := r.Renew(end, 1, noon, timing); err != nil {
			t.Errorf("%+v: the end does not do: %v", q, err)
		}
	}, `{"ttl":"1h","clamp":true}`, `{"ttl":"3650d"}`, `{"ttl":"3650d","clamp":true}`, `{"ttl":"59s"}`, `{"clamp":"true"}`)
}

func FuzzDecodeRevokeRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeRevokeRequest, func(t *testing.T, r messages.RevokeRequest) {
		if utf8.RuneCountInString(r.Reason) > messages.MaxReason || strings.ContainsAny(r.Reason, "\r\n\x00\x1b") || !utf8.ValidString(r.Reason) {
			t.Errorf("taken: %q", r.Reason)
		}
	}, `{"reason":"job finished"}`, `{"reason":"\u0000"}`, `{"reason":"\ud800"}`, `{"reason":"`+strings.Repeat("é", 257)+`"}`)
}

func FuzzDecodeListRequest(f *testing.F) {
	fuzzBody(f, messages.DecodeListRequest, func(t *testing.T, r messages.ListRequest) {
		if r.Limit < 1 || r.Limit > messages.MaxPage {
			t.Errorf("the limit is %d", r.Limit)
		}
		if strings.ContainsAny(r.Secret+r.After, "*> \r\n") {
			t.Errorf("taken: %+v", r)
		}
	}, `{"secret":"ci","state":"active","limit":100,"after":"alice.ci.06ct"}`, `{"limit":501}`, `{"limit":-1}`, `{"limit":1e2}`, `{"after":"*.*.*"}`)
}

func FuzzDecodeDynamicSecret(f *testing.F) {
	fuzzBody(f, messages.DecodeDynamicSecret, func(t *testing.T, s messages.DynamicSecret) {
		ttl, err := s.ResolveTTL(0, 0)
		if err != nil || ttl != s.DefaultTTL || ttl < messages.MinSecretTTL || ttl > s.MaxTTL {
			t.Errorf("a request without a ttl gets %s, %v: %+v", ttl, err, s)
		}
		if messages.CheckToken("name", s.Name) != nil || s.MaxLeases < 0 || s.MaxLeasesPerIdentity < 0 {
			t.Errorf("taken: %+v", s)
		}
	},
		`{"name":"ci"}`, `{"name":"ci","hard_expiry":false}`, `{"name":"ci","default_ttl":"48h","max_ttl":"2h"}`,
		`{"name":"ci","tags":{"a":"b"},"max_leases":5,"aws":{"groups":"a, b","managed_policies":["x"],"inline_policy":"{\"a\": \"<&>\"}","auth":{"method":"default"}}}`,
		`{"name":"ci","aws":{"inline_policy":{"a":1e400}}}`, `{"name":"ci","aws":{"auth":null}}`)
}

// FuzzDecodeSecretPut reads a body as it is, and once more with a secret key put
// somewhere into it: no error may show that one, wherever it came to stand.
func FuzzDecodeSecretPut(f *testing.F) {
	const key = `"secret_access_key":"` + theSecret + `"`
	for _, s := range []string{
		`{"definition":{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"AKIAX",` + key + `}}},"revision":7,"no_check":true}`,
		`{"definition":{"name":"ci","default_ttl":"20m","max_ttl":"1h","allow_fixed_username":true,"aws":{"credential_type":"assume_role",` +
			`"role_arn":"arn:aws:iam::123456789012:role/x","external_id":"7","deny_on_revoke":true,"inline_policy":{"a":"<&>"},` +
			`"auth":{"method":"irsa","assume_role_arn":"arn:aws:iam::123456789012:role/y",` + key + `}}},"revision":null}`,
		`{"definition":{"name":"ci","tags":{` + key + `},"aws":{"groups":"a,b"}},"revision":0}`,
		`{"definition":{"name":"ci","max_leases":{` + key + `}}}`, `{"definition":[` + key + `]}`, `{"revision":{` + key + `}}`,
		`{"definition":{"name":"ci","aws":{"auth":{` + key + `,` + key + `}}}}`, `{` + key + `}`, key,
	} {
		before, after, _ := strings.Cut(s, key)
		f.Add([]byte(before), []byte(after))
		f.Add([]byte(s), []byte(nil))
	}
	for _, s := range []string{``, `{}`, `null`, `[]`, `{"definition":null}`, `{"definition":{"name":"ci"},"revision":-1}`, `{"definition":{"name":"ci"},"definition":{}}`} {
		f.Add([]byte(s), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, before, after []byte) {
		checkSecretPut(t, slices.Concat(before, after), false)
		checkSecretPut(t, slices.Concat(before, []byte(key), after), true)
	})
}

// checkSecretPut decodes a body, encodes that, and decodes it again. Hidden says
// that the secret in it stands where no error may show it.
func checkSecretPut(t *testing.T, body []byte, hidden bool) {
	p, err := messages.DecodeSecretPut(body)
	if err != nil {
		wantSafe(t, err)
		if hidden {
			wantHidden(t, "the error", err.Error())
		}
		if !reflect.DeepEqual(p, messages.SecretPut{}) {
			t.Errorf("an error, and a result: %+v", p)
		}
		return
	}
	key := p.Definition.AWS.Auth.SecretAccessKey.Reveal()
	if key == theSecret && hidden && bytes.Count(body, []byte(theSecret)) == 1 {
		wantHidden(t, "JSON", string(mustJSON(t, p)))
		wantHidden(t, "%+v", fmt.Sprintf("%+v", p))
	}
	once, err := p.Encode()
	if err != nil {
		t.Fatalf("%v: %+v", err, p)
	}
	if len(once) > messages.MaxSecretBody {
		return // grown by its defaults
	}
	again, err := messages.DecodeSecretPut(once)
	if err != nil {
		t.Fatalf("%v: %s", err, once)
	}
	if twice := must(again.Encode()); !bytes.Equal(once, twice) {
		t.Errorf("came back as\n%s, was\n%s", twice, once)
	}
	if got := again.Definition.AWS.Auth.SecretAccessKey.Reveal(); got != key {
		t.Errorf("the secret key came back as %q, was %q", got, key)
	}
	if (p.Revision == nil) != (again.Revision == nil) {
		t.Errorf("the revision came back as %v, was %v", again.Revision, p.Revision)
	}
}

func FuzzDecodeSweepOrder(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"apply":true}`, `{"apply":"yes"}`, `{"apply":true,"apply":false}`, `{"apply":null}`, `[]`, `{"x":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := messages.DecodeSweepOrder(data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.SweepOrder{}) {
				t.Errorf("an error, and a result: %+v", o)
			}
			return
		}
		if again, err := messages.DecodeSweepOrder(mustJSON(t, o)); err != nil || again != o {
			t.Errorf("came back as %+v, %v; was %+v", again, err, o)
		}
	})
}

func FuzzDecodeRestoreOrder(f *testing.F) {
	fuzzBody(f, messages.DecodeRestoreOrder, func(t *testing.T, o messages.RestoreOrder) {
		if again, err := messages.DecodeRestoreOrder(mustJSON(t, o)); err != nil || again != o {
			t.Errorf("came back as %+v, %v; was %+v", again, err, o)
		}
	}, `{"apply":true}`, `{"apply":"yes"}`, `{"apply":true,"apply":false}`, `{"apply":null}`)
}

func FuzzDecodeLeaseQuery(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"identity":"alice","secret":"ci","state":"revoking","failing":true,"limit":3,"after":"a.b.c"}`, `{"limit":501}`, `{"identity":"*"}`, `{"state":"odd"}`, `{"after":"x"}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := messages.DecodeLeaseQuery(data)
		if err != nil {
			wantSafe(t, err)
			if q != (messages.LeaseQuery{}) {
				t.Errorf("an error, and a result: %+v", q)
			}
			return
		}
		if q.Limit < 1 || q.Limit > messages.MaxPage || q.Identity != "" && messages.CheckToken("identity", q.Identity) != nil {
			t.Errorf("taken: %+v", q)
		}
		if again, err := messages.DecodeLeaseQuery(mustJSON(t, q)); err != nil || again != q {
			t.Errorf("came back as %+v, %v; was %+v", again, err, q)
		}
	})
}

func FuzzDecodeLeaseOrder(f *testing.F) {
	for _, v := range []messages.AdminVerb{messages.AdminLeaseRetry, messages.AdminLeaseRevoke} {
		for _, s := range []string{``, `{}`, `{"lease":"a.b.c","reason":"x","force":true}`, `{"secret":"ci","reason":"a\nb"}`, `{"identity":"alice","secret":"ci"}`, `{"lease":"a.b.c","secret":"ci"}`, `{"secret":"ci","force":true}`, `{"identity":">"}`, `[]`} {
			f.Add(string(v), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, verb string, data []byte) {
		v := messages.AdminVerb(verb)
		o, err := messages.DecodeLeaseOrder(v, data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.LeaseOrder{}) {
				t.Errorf("an error, and a result: %+v", o)
			}
			return
		}
		if v == messages.AdminLeaseRevoke && o.Lease == "" && o.Identity == "" && o.Secret == "" {
			t.Errorf("all leases are revoked: %+v", o)
		}
		if _, err := messages.DecodeRevokeRequest(mustJSON(t, messages.RevokeRequest{Reason: o.Reason})); err != nil {
			t.Errorf("taken, and no revocation may say it: %q: %v", o.Reason, err)
		}
		if again, err := messages.DecodeLeaseOrder(v, mustJSON(t, o)); err != nil || again != o {
			t.Errorf("came back as %+v, %v; was %+v", again, err, o)
		}
	})
}

func FuzzDecodeSecretOrder(f *testing.F) {
	for _, v := range adminVerbs {
		for _, s := range []string{
			`{"name":"ci","force":true}`, `{"name":"ci"}`, `{"name":""}`, `{"name":"*"}`, `{"name":"a.b","force":false}`, `{"force":true}`,
			`{"name":"ci","name":"cd"}`, `{"name":null,"force":null}`, ``, `{}`, `null`, `[]`, `{"name":"` + theSecret + `"}`,
		} {
			f.Add(string(v), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, verb string, data []byte) {
		v := messages.AdminVerb(verb)
		o, err := messages.DecodeSecretOrder(v, data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.SecretOrder{}) {
				t.Errorf("an error, and a result: %+v", o)
			}
			return
		}
		if messages.CheckToken("name", o.Name) != nil || (o.Force && v != messages.AdminDelete) {
			t.Errorf("taken of %s: %+v", v, o)
		}
		once := mustJSON(t, o)
		if again, err := messages.DecodeSecretOrder(v, once); err != nil || again != o {
			t.Errorf("came back as %+v, %v; was %+v", again, err, o)
		}
	})
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
			t.Errorf("came back as\n%s, was\n%s", twice, once)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	e := messages.NewEvent("5kf3", plan().Name, messages.EventFailed, "1", noon, messages.EventData{Error: messages.Errorf(messages.CodeInternal, "no")})
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
			t.Errorf("came back as\n%s, was\n%s", twice, once)
		}
	})
}

func addRecords(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(must(r.Encode()))
	}
	for _, s := range []string{``, `null`, `{}`, `{"v":1}`, `{"v":2,"x":1}`, `{"v":1,"state":"active","v":2}`, `{"V":1,"STATE":"active"}`} {
		f.Add([]byte(s))
	}
}

// FuzzDecodeRecord also leads what it could decode through every transition:
// none may panic, whatever stands in the bucket, nor leave what can't be read.
func FuzzDecodeRecord(f *testing.F) {
	addRecords(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := record.Decode(data)
		if err != nil {
			if !reflect.DeepEqual(r, record.Record{}) {
				t.Errorf("an error, and a record: %+v", r)
			}
			return
		}
		left := record.DecodePartial(data)
		if left.Username != r.User.Name || left.Connection != r.Connection {
			t.Errorf("of %+v remains %+v", r, left)
		}
		_, _, _ = r.Lease(), r.DenyAfter(), r.Action(noon)
		if cut := r.Cut(); cut && (r.State != messages.StateRevoking || r.Lease().State != messages.StateRevoked) {
			t.Errorf("cut off while %s, and shown as %s", r.State, r.Lease().State)
		}
		if stored, err := r.Encode(); err == nil {
			back, err := record.Decode(stored)
			if err != nil {
				t.Fatalf("%v: %s", err, stored)
			}
			if again := must(back.Encode()); !bytes.Equal(again, stored) {
				t.Errorf("came back as\n%s, was\n%s", again, stored)
			}
		} // else a time that JSON can read and not write
		for name, transition := range transitions {
			next, err := transition(r)
			if err != nil {
				continue
			}
			if stored, err := next.Encode(); err == nil {
				if _, err := record.Decode(stored); err != nil {
					t.Errorf("%s: left what can't be read: %v: %s", name, err, stored)
				}
			}
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
		// Its subjects are literal, and lead to its stream and no other.
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
				t.Errorf("nobody can publish to %q", subject)
			}
		}
		if len(parts) < 2 || len(subject) > 512 {
			t.Errorf("taken: %q", subject)
		}
		if own && n.CheckReply(identity+"0", subject) == nil {
			t.Errorf("%q is for %s, and for another", subject, identity)
		}
	})
}

func FuzzOpenSealed(f *testing.F) {
	// Always the same box, also in the processes that fuzz.
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
				t.Errorf("an error, and contents: %+v", c)
			}
			return
		}
		// Nobody without one of the keys can have made it.
		if from != box.From || !bytes.Equal(sealed, box.Box) || !reflect.DeepEqual(c, contents()) {
			t.Errorf("a box from %s opened: %+v", from, c)
		}
	})
}
