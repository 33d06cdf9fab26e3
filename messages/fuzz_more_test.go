package messages_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// FuzzDecodeStoredSecret reads what may stand in the bucket of definitions: what can
// be used can be stored and read again, and no error shows the secret key.
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
			t.Errorf("taken: %+v", s)
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
			t.Errorf("came back as\n%s, was\n%s", twice, once)
		}
	})
}

// FuzzDecodeRecordAt reads what may stand at a key of the lease bucket: it is that
// key's record or none, and the error is short, whatever stands there.
func FuzzDecodeRecordAt(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(r.Name().String(), must(r.Encode()))
		f.Add("alice.ci.other", must(r.Encode()))
	}
	f.Add("", []byte(`{}`))
	f.Add("a.b.c", []byte(`{"v":1,"`+strings.Repeat("x", 3000)+`":1}`))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		r, err := record.DecodeAt(key, data)
		if err != nil {
			if len(err.Error()) > 120*4+400 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("the error has %d bytes: %v", len(err.Error()), err)
			}
			if r.Attempt != 0 || r.Identity != "" {
				t.Errorf("an error, and a record: %+v", r)
			}
			return
		}
		if r.Name().String() != key {
			t.Errorf("the record of %s is at %q", r.Name(), key)
		}
	})
}

// FuzzLeaseID: a request's id is a token, and no other request has it.
func FuzzLeaseID(f *testing.F) {
	f.Add("alice", "ci", "k", uint64(1), int64(1), "alice", "ci", "k2", uint64(1), int64(1))
	f.Add("alice", "ci", "", uint64(1), int64(12), "alice", "ci", "", uint64(11), int64(2))
	f.Add("a", "b", "c\",\"d", uint64(0), int64(0), "a", "b\",\"key\",\"c", "d", uint64(0), int64(0))
	f.Add("a", "b", " ", uint64(0), int64(0), "a", "b", "~", uint64(0), int64(-1))
	f.Fuzz(func(t *testing.T, identity, secret, key string, sequence uint64, at int64, identity2, secret2, key2 string, sequence2 uint64, at2 int64) {
		for _, k := range []string{key, key2} {
			if err := messages.CheckIdempotencyKey(k); err != nil {
				wantSafe(t, err)
				return
			}
			if len(k) > messages.MaxIdempotencyKey || strings.ContainsAny(k, "\r\n\x00\x7f") {
				t.Errorf("taken: %q", k)
			}
		}
		for _, token := range []string{identity, secret, identity2, secret2} {
			if messages.CheckToken("token", token) != nil {
				return
			}
		}
		id := record.LeaseID(identity, secret, key, sequence, noon.Add(time.Duration(at)))
		if err := messages.CheckToken("id", id); err != nil || len(id) != 26 {
			t.Errorf("%q is no id: %v", id, err)
		}
		same := identity == identity2 && secret == secret2 && key == key2 && (key != "" || sequence == sequence2 && at == at2)
		if other := record.LeaseID(identity2, secret2, key2, sequence2, noon.Add(time.Duration(at2))); (id == other) != same {
			t.Errorf("the ids are %s and %s", id, other)
		}
	})
}

// FuzzCheckAdminReply: what an operator may have answered is an inbox, its own or
// everybody's, or the server's mapping: never a subject of the broker's account.
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
			t.Errorf("an operator may have %q", subject)
		}
		for _, token := range strings.Split(rest, ".") {
			if token == "" || token == "*" || token == ">" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("nobody can publish to %q", subject)
			}
		}
		if len(subject) > 512 {
			t.Errorf("taken: %q", subject)
		}
	})
}

// FuzzDecodeNothing: a body that has nothing to say says nothing.
func FuzzDecodeNothing(f *testing.F) {
	for _, s := range []string{"", "{}", " {}\n", "null", "[]", "{}{}", `{"a":1}`, "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := messages.DecodeNothing(body)
		wantSafe(t, err)
		if left := strings.Trim(strings.TrimSpace(string(body)), "{} \t\r\n"); err == nil && left != "" {
			t.Errorf("%q is taken", body)
		}
	})
}
