package messages_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func FuzzDecodeDynamicSecret(f *testing.F) {
	fuzzBody(f, messages.DecodeDynamicSecret, func(t *testing.T, s messages.DynamicSecret) {
		ttl, err := s.ResolveTTL(0, 0)
		if err != nil || ttl != s.DefaultTTL || ttl < messages.MinSecretTTL || ttl > s.MaxTTL {
			t.Errorf("a request without a ttl gets %s, %v: %+v", ttl, err, s)
		}
		if messages.CheckToken("name", s.Name) != nil || s.MaxLeases < 0 || s.MaxLeasesPerIdentity < 0 {
			t.Errorf("accepted: %+v", s)
		}
	},
		`{"name":"ci"}`, `{"name":"ci","hard_expiry":false}`, `{"name":"ci","default_ttl":"48h","max_ttl":"2h"}`,
		`{"name":"ci","tags":{"a":"b"},"max_leases":5,"aws":{"groups":"a, b","managed_policies":["x"],"inline_policy":"{\"a\": \"<&>\"}","auth":{"method":"default"}}}`,
		`{"name":"ci","aws":{"inline_policy":{"a":1e400}}}`, `{"name":"ci","aws":{"auth":null}}`)
}

// FuzzDecodeStoredSecret decodes values of the bucket of definitions. A valid definition
// can be encoded and decoded again, and no error shows the secret key.
func FuzzDecodeStoredSecret(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `{"name":"ci"}`, `{"name":"ci","aws":{"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/x","auth":{"method":"irsa"}}}`,
		`{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"AKIAX","secret_access_key":"` + theSecret + `"}}}`,
		`{"name":"ci","aws":{"auth":{"secret_access_key":["` + theSecret + `"]}}}`, `{"name":"` + theSecret + `"}`, `{"` + theSecret + `":1}`,
		`{"name":"ci","default_ttl":"90s","max_ttl":"365d","hard_expiry":"none","max_requests_per_minute":7,"aws":{"groups":",a,,b,"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := messages.DecodeStoredSecret(data)
		if err != nil {
			wantSafe(t, err)
			wantHidden(t, "the error", err.Error())
			return
		}
		if messages.CheckToken("name", s.Name) != nil || s.MaxTTL < s.DefaultTTL || s.DefaultTTL < messages.MinSecretTTL {
			t.Errorf("accepted: %+v", s)
		}
		once := mustJSON(t, s)
		if s.AWS.Auth.SecretAccessKey.Reveal() == theSecret && bytes.Count(data, []byte(theSecret)) == 1 {
			wantHidden(t, "JSON", string(once))
		}
		again, err := messages.DecodeStoredSecret(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice := mustJSON(t, again); !bytes.Equal(once, twice) {
			t.Errorf("decoded again: got\n%s, want\n%s", twice, once)
		}
	})
}

// FuzzDecodeSecretPut decodes a body, and the same body with a secret key inserted
// somewhere. No error may show that key.
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

// checkSecretPut decodes a body, encodes the put and decodes it again. hidden means that
// the body contains the secret key, which no error may show.
func checkSecretPut(t *testing.T, body []byte, hidden bool) {
	p, err := messages.DecodeSecretPut(body)
	if err != nil {
		wantSafe(t, err)
		if hidden {
			wantHidden(t, "the error", err.Error())
		}
		if !reflect.DeepEqual(p, messages.SecretPut{}) {
			t.Errorf("got an error and a result: %+v", p)
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
		return // the defaults made it longer
	}
	again, err := messages.DecodeSecretPut(once)
	if err != nil {
		t.Fatalf("%v: %s", err, once)
	}
	if twice := must(again.Encode()); !bytes.Equal(once, twice) {
		t.Errorf("decoded again: got\n%s, want\n%s", twice, once)
	}
	if got := again.Definition.AWS.Auth.SecretAccessKey.Reveal(); got != key {
		t.Errorf("decoded again: got the secret key %q, want %q", got, key)
	}
	if (p.Revision == nil) != (again.Revision == nil) {
		t.Errorf("decoded again: got revision %v, want %v", again.Revision, p.Revision)
	}
}

func FuzzDecodeSecretRequest(f *testing.F) {
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
		o, err := messages.DecodeSecretRequest(v, data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.SecretRequest{}) {
				t.Errorf("got an error and a result: %+v", o)
			}
			return
		}
		if messages.CheckToken("name", o.Name) != nil || (o.Force && v != messages.AdminDelete) {
			t.Errorf("accepted for %s: %+v", v, o)
		}
		once := mustJSON(t, o)
		if again, err := messages.DecodeSecretRequest(v, once); err != nil || again != o {
			t.Errorf("decoded again: got %+v, %v; want %+v", again, err, o)
		}
	})
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
				t.Errorf("got an error and a result: %+v", q)
			}
			return
		}
		if q.Limit < 1 || q.Limit > messages.MaxPage || q.Identity != "" && messages.CheckToken("identity", q.Identity) != nil {
			t.Errorf("accepted: %+v", q)
		}
		if again, err := messages.DecodeLeaseQuery(mustJSON(t, q)); err != nil || again != q {
			t.Errorf("decoded again: got %+v, %v; want %+v", again, err, q)
		}
	})
}

func FuzzDecodeLeaseCommand(f *testing.F) {
	for _, v := range []messages.AdminVerb{messages.AdminLeaseRetry, messages.AdminLeaseRevoke} {
		for _, s := range []string{``, `{}`, `{"lease":"a.b.c","reason":"x","force":true}`, `{"secret":"ci","reason":"a\nb"}`, `{"identity":"alice","secret":"ci"}`, `{"lease":"a.b.c","secret":"ci"}`, `{"secret":"ci","force":true}`, `{"identity":">"}`, `[]`} {
			f.Add(string(v), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, verb string, data []byte) {
		v := messages.AdminVerb(verb)
		o, err := messages.DecodeLeaseCommand(v, data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.LeaseCommand{}) {
				t.Errorf("got an error and a result: %+v", o)
			}
			return
		}
		if v == messages.AdminLeaseRevoke && o.Lease == "" && o.Identity == "" && o.Secret == "" {
			t.Errorf("all leases are revoked: %+v", o)
		}
		if _, err := messages.DecodeRevokeRequest(mustJSON(t, messages.RevokeRequest{Reason: o.Reason})); err != nil {
			t.Errorf("accepted, but a revocation refuses the reason %q: %v", o.Reason, err)
		}
		if again, err := messages.DecodeLeaseCommand(v, mustJSON(t, o)); err != nil || again != o {
			t.Errorf("decoded again: got %+v, %v; want %+v", again, err, o)
		}
	})
}

func FuzzDecodeSweepCommand(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"apply":true}`, `{"apply":"yes"}`, `{"apply":true,"apply":false}`, `{"apply":null}`, `[]`, `{"x":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := messages.DecodeSweepCommand(data)
		if err != nil {
			wantSafe(t, err)
			if o != (messages.SweepCommand{}) {
				t.Errorf("got an error and a result: %+v", o)
			}
			return
		}
		if again, err := messages.DecodeSweepCommand(mustJSON(t, o)); err != nil || again != o {
			t.Errorf("decoded again: got %+v, %v; want %+v", again, err, o)
		}
	})
}

func FuzzDecodeRestoreCommand(f *testing.F) {
	fuzzBody(f, messages.DecodeRestoreCommand, func(t *testing.T, o messages.RestoreCommand) {
		if again, err := messages.DecodeRestoreCommand(mustJSON(t, o)); err != nil || again != o {
			t.Errorf("decoded again: got %+v, %v; want %+v", again, err, o)
		}
	}, `{"apply":true}`, `{"apply":"yes"}`, `{"apply":true,"apply":false}`, `{"apply":null}`)
}

// FuzzCheckAdminReply checks that only inboxes and the server's mapping of service
// imports are accepted, and never another subject of the broker's account.
func FuzzCheckAdminReply(f *testing.F) {
	for _, s := range []string{
		"_INBOX.x", "_INBOX_kim.x", "_INBOX_Kim.x.y", "_INBOX_.x", "_INBOX_a b.x", "_INBOX_*.x", "_R_.x.y", "lessor.deliver.alice.x", "$KV.x.y", "$JS.API.x", "_INBOX.>", "_INBOX..x", "_INBOX.", "_INBOX_kim", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		var n messages.Namespace
		if err := n.CheckAdminReply(subject); err != nil {
			wantSafe(t, err)
			if len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		first, rest, _ := strings.Cut(subject, ".")
		name, own := strings.CutPrefix(first, "_INBOX_")
		if first != "_INBOX" && first != "_R_" && (!own || messages.CheckToken("name", strings.ToLower(name)) != nil) {
			t.Errorf("accepted: %q", subject)
		}
		for _, token := range strings.Split(rest, ".") {
			if token == "" || token == "*" || token == ">" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("not a literal subject: %q", subject)
			}
		}
		if len(subject) > 512 {
			t.Errorf("accepted: %q", subject)
		}
	})
}
