package record_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func addRecords(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(must(r.Encode()))
	}
	for _, s := range []string{``, `null`, `{}`, `{"v":1}`, `{"v":2,"x":1}`, `{"v":1,"state":"active","v":2}`, `{"V":1,"STATE":"active"}`} {
		f.Add([]byte(s))
	}
}

// FuzzDecode also leads what it could decode through every transition:
// none may panic, whatever stands in the bucket, nor leave what can't be read.
func FuzzDecode(f *testing.F) {
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
		if cut := r.SessionDenied(); cut && (r.State != messages.StateRevoking || r.Lease().State != messages.StateRevoked) {
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

// FuzzDecodeAt reads what may stand at a key of the lease bucket: it is that
// key's record or none, and the error is short, whatever stands there.
func FuzzDecodeAt(f *testing.F) {
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
			if messages.CheckIdempotencyKey(k) != nil {
				return
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

// FuzzRenewalEnd checks that Renew takes every end that RenewalEnd returns.
func FuzzRenewalEnd(f *testing.F) {
	f.Add(int64(3600), true, int64(0))
	f.Add(int64(3650*86400), false, int64(0))
	f.Add(int64(3650*86400), true, int64(900))
	f.Add(int64(59), false, int64(60))
	f.Add(int64(0), false, int64(901))
	r := settledLease()
	f.Fuzz(func(t *testing.T, seconds int64, clamp bool, after int64) {
		ttl, stored := time.Duration(seconds)*time.Second, noon.Add(time.Duration(after)*time.Second)
		if ttl < 0 || ttl > messages.MaxDuration.Std() {
			t.Skip()
		}
		end, err := r.RenewalEnd(messages.RenewRequest{TTL: messages.Duration(ttl), Clamp: clamp}, stored, minute)
		if err != nil {
			if e := (*messages.Error)(nil); !errors.As(err, &e) || e.Code == "" || len(e.Message) > 400 {
				t.Errorf("got %v (%T), want a short *messages.Error", err, err)
			}
			return
		}
		if _, err := r.Renew(end, 1, stored, timing); err != nil {
			t.Errorf("ttl %s, clamp %v, stored at %s: Renew refuses %s: %v", ttl, clamp, stored, end, err)
		}
	})
}
