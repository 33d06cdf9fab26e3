package messages_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// xkey is the public key of seed(1).
const xkey = "XAD2G7F4CQQJHSFXKXOBWEHINS2CMN2K2FVKQU7NBPP4BMVYNUOHZWPX"

func TestDecodeLeaseRequest(t *testing.T) {
	got, err := messages.DecodeLeaseRequest([]byte(`{"ttl": "15m", "xkey": "` + xkey + `", "confirm": true, "ready_within": "20s",
		"deadline": "2026-11-22T23:00:30+01:00", "labels": {"job": "1234"}}`))
	want := messages.LeaseRequest{
		TTL: messages.Duration(15 * time.Minute), XKey: xkey, Confirm: true, ReadyWithin: messages.Duration(20 * time.Second),
		Deadline: time.Date(2026, 11, 22, 22, 0, 30, 0, time.UTC), Labels: map[string]string{"job": "1234"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// labels returns a body with n labels; key and value are those of the first.
func labels(n int, key, value string) string {
	var b strings.Builder
	for i := range n {
		if i == 0 {
			fmt.Fprintf(&b, `{"labels":{%q:%q`, key, value)
		} else {
			fmt.Fprintf(&b, `,"k%d":"v"`, i)
		}
	}
	return b.String() + "}}"
}

func TestLeaseRequestLimits(t *testing.T) {
	for _, c := range []struct {
		name, body string
		words      []string // of the error; nil: valid
	}{
		{"15 labels", labels(15, "a", "b"), nil},
		{"16 labels", labels(16, "a", "b"), nil},
		{"17 labels", labels(17, "a", "b"), []string{"labels", "17", "16"}},
		{"no label", `{"labels":{}}`, nil},
		{"label key of 1", labels(1, "a", ""), nil},
		{"label key of 63", labels(1, strings.Repeat("a", 63), "b"), nil},
		{"label key of 64", labels(1, strings.Repeat("~", 64), "b"), nil},
		{"label key of 65", labels(1, strings.Repeat("a", 65), "b"), []string{"labels", "64"}},
		{"label key empty", labels(1, "", "b"), []string{"labels"}},
		{"label key with a blank", labels(1, "a b", "b"), []string{"labels"}},
		{"label key with a tab", `{"labels":{"a\tb":"c"}}`, []string{"labels"}},
		{"label key with a letter outside ASCII", labels(1, "ä", "b"), []string{"labels"}},
		{"label key with DEL", `{"labels":{"a\u007f":"c"}}`, []string{"labels"}},
		{"label value of 255", labels(1, "a", strings.Repeat("ä", 255)), nil},
		{"label value of 256", labels(1, "a", strings.Repeat("ä", 256)), nil},
		{"label value of 257", labels(1, "a", strings.Repeat("b", 257)), []string{"labels.a", "257", "256"}},
		{"label value with a line break", `{"labels":{"a":"b\nc"}}`, []string{"labels.a"}},
		{"label value with a C1 control", `{"labels":{"a":"b\u0085c"}}`, []string{"labels.a"}},
		{"label value a number", `{"labels":{"a":1}}`, []string{"labels", "number"}},
		{"labels an array", `{"labels":["a"]}`, []string{"labels has the wrong type", "a list", "an object"}},
		{"ready_within of 59s", `{"ready_within":"59s"}`, nil},
		{"ready_within of 60s", `{"ready_within":"60s"}`, nil},
		{"ready_within of 61s", `{"ready_within":"61s"}`, []string{"ready_within", "1m1s", "1m"}},
		{"ttl of ten years", `{"ttl":"3650d"}`, nil},
		{"ttl above ten years", `{"ttl":"3651d"}`, []string{"ttl", "3650d"}},
		{"ttl negative", `{"ttl":"-1h"}`, []string{"ttl"}},
		{"ttl a number", `{"ttl":3600}`, []string{"ttl has", "a number", "a duration such as 90s"}},
		{"ttl empty", `{"ttl":""}`, []string{"ttl"}},
		{"confirm as text", `{"confirm":"true"}`, []string{"confirm has", "it is text", "must be true or false"}},
		{"confirm a number", `{"confirm":1}`, []string{"confirm", "number"}},
		{"xkey a number", `{"xkey":1}`, []string{"xkey", "number"}},
		{"xkey something else", `{"xkey":"XABC"}`, []string{"xkey"}},
		{"deadline a number", `{"deadline":1700000000}`, []string{"deadline"}},
		{"deadline without a zone", `{"deadline":"2026-11-22T22:00:30"}`, []string{"deadline", "RFC 3339"}},
		{"deadline a date", `{"deadline":"2026-11-22"}`, []string{"deadline", "RFC 3339"}},
		{"deadline no time of day", `{"deadline":"2026-11-22T25:00:30Z"}`, []string{"deadline", "RFC 3339"}},
		{"deadline in the first year", `{"deadline":"0001-01-01T00:00:00Z"}`, nil},
		{"deadline before year 1", `{"deadline":"0001-01-01T00:00:00+01:00"}`, []string{"deadline"}},
		{"deadline in the last year", `{"deadline":"9999-12-31T23:59:59Z"}`, nil},
		{"deadline after year 9999", `{"deadline":"9999-12-31T23:59:59-01:00"}`, []string{"deadline"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := messages.DecodeLeaseRequest([]byte(c.body))
			if c.words == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, messages.CodeInvalidRequest, c.words...)
			if !reflect.DeepEqual(r, messages.LeaseRequest{}) {
				t.Errorf("got an error and a request: %+v", r)
			}
		})
	}
}

func TestFingerprintsOfDifferentRequestsDiffer(t *testing.T) {
	base := messages.LeaseRequest{TTL: messages.Duration(time.Minute), Labels: map[string]string{"a": "1", "b": "2"}}
	seen := map[string]string{base.Fingerprint(): "base"}
	for name, change := range map[string]func(*messages.LeaseRequest){
		"ttl":          func(r *messages.LeaseRequest) { r.TTL++; r.TTL += messages.Duration(time.Second) },
		"no ttl":       func(r *messages.LeaseRequest) { r.TTL = 0 },
		"xkey":         func(r *messages.LeaseRequest) { r.XKey = xkey },
		"confirm":      func(r *messages.LeaseRequest) { r.Confirm = true },
		"ready_within": func(r *messages.LeaseRequest) { r.ReadyWithin = messages.Duration(time.Second) },
		"label":        func(r *messages.LeaseRequest) { r.Labels = map[string]string{"a": "1", "b": "3"} },
		"label gone":   func(r *messages.LeaseRequest) { r.Labels = map[string]string{"a": "1"} },
		"no labels":    func(r *messages.LeaseRequest) { r.Labels = nil },
	} {
		r := base
		change(&r)
		f := r.Fingerprint()
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[f] = name
	}
}

func TestFingerprintIgnoresDeadlineAndFormatting(t *testing.T) {
	decode := func(body string) string { return must(messages.DecodeLeaseRequest([]byte(body))).Fingerprint() }
	want := decode(`{"ttl":"1h","labels":{"a":"1","b":"2"}}`)
	for _, body := range []string{
		`{"ttl":"1h","labels":{"a":"1","b":"2"},"deadline":"2026-11-22T22:00:30Z"}`,
		`{"labels":{"b":"2","a":"1"}, "ttl":"60m", "confirm":false}`,
	} {
		if got := decode(body); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
	// Stored records contain the fingerprint.
	if golden := "471cd58f846bd372ecbee5fc946bae09"; want != golden {
		t.Errorf("got %s, want %s", want, golden)
	}
	r := messages.LeaseRequest{Deadline: noon}
	if r.Fingerprint(); !r.Deadline.Equal(noon) {
		t.Error("Fingerprint changed the request")
	}
}

func TestDecodeRenewRequest(t *testing.T) {
	got, err := messages.DecodeRenewRequest([]byte(`{"ttl": "1h", "clamp": true}`))
	if want := (messages.RenewRequest{TTL: messages.Duration(time.Hour), Clamp: true}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for body, words := range map[string][]string{
		`{"ttl":"3651d"}`:             {"ttl", "3650d"},
		`{"ttl":1}`:                   {"ttl"},
		`{"clamp":"yes"}`:             {"clamp has", "it is text", "must be true or false"},
		`{"expires_at":"2026-01-01"}`: {"expires_at", "ttl", "clamp"},
	} {
		_, err := messages.DecodeRenewRequest([]byte(body))
		wantCode(t, err, messages.CodeInvalidRequest, words...)
	}
}

func TestDecodeRevokeRequest(t *testing.T) {
	for name, c := range map[string]struct {
		reason string // as in JSON
		words  []string
	}{
		"text":              {`job finished`, nil},
		"255 characters":    {strings.Repeat("é", 255), nil},
		"256 characters":    {strings.Repeat("é", 256), nil},
		"257 characters":    {strings.Repeat("e", 257), []string{"reason", "257", "256"}},
		"a line break":      {`a\nb`, []string{"reason", "control"}},
		"an escape":         {`\u001b[31m`, []string{"reason", "control"}},
		"DEL":               {`\u007f`, []string{"reason", "control"}},
		"a C1 control":      {`\u009b`, []string{"reason", "control"}},
		"half a surrogate":  {`\ud800`, nil}, // reads as U+FFFD
		"more than a plane": {`\ud83d\ude00`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := messages.DecodeRevokeRequest([]byte(`{"reason":"` + c.reason + `"}`))
			if c.words == nil {
				if err != nil || r.Reason == "" {
					t.Fatalf("got %+v, %v", r, err)
				}
				return
			}
			wantCode(t, err, messages.CodeInvalidRequest, c.words...)
		})
	}
	_, err := messages.DecodeRevokeRequest([]byte(`{"reason":["a"]}`))
	wantCode(t, err, messages.CodeInvalidRequest, "reason has", "a list", "must be text")
}

func TestDecodeListRequest(t *testing.T) {
	got, err := messages.DecodeListRequest([]byte(`{"secret":"ci","state":"active","limit":7,"after":"alice.ci.06ct"}`))
	want := messages.ListRequest{Secret: "ci", State: messages.StateActive, Limit: 7, After: "alice.ci.06ct"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for s := range states {
		if _, err := messages.DecodeListRequest([]byte(`{"state":"` + string(s) + `"}`)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestListRequestLimits(t *testing.T) {
	for limit, want := range map[int]int{0: 100, 1: 1, 99: 99, 499: 499, 500: 500, 501: 0, -1: 0} {
		r, err := messages.DecodeListRequest(fmt.Appendf(nil, `{"limit":%d}`, limit))
		if want == 0 {
			wantCode(t, err, messages.CodeInvalidRequest, "limit", fmt.Sprint(limit), "500")
		} else if err != nil || r.Limit != want {
			t.Errorf("%d: got %d, %v", limit, r.Limit, err)
		}
	}
	for _, c := range []struct {
		body  string
		code  messages.Code
		words []string
	}{
		{`{"limit":1.5}`, messages.CodeInvalidRequest, []string{"limit", "number"}},
		{`{"limit":"10"}`, messages.CodeInvalidRequest, []string{"limit has", "text", "a whole number"}},
		{`{"limit":99999999999999999999}`, messages.CodeInvalidRequest, []string{"limit"}},
		{`{"state":"Active"}`, messages.CodeInvalidRequest, []string{"state", "revoking"}},
		{`{"state":"alive"}`, messages.CodeInvalidRequest, []string{"state"}},
		{`{"state":1}`, messages.CodeInvalidRequest, []string{"state", "number"}},
		{`{"secret":"CI"}`, messages.CodeInvalidSubject, []string{"secret"}},
		{`{"secret":"*"}`, messages.CodeInvalidSubject, []string{"secret"}},
		{`{"secret":"a.b"}`, messages.CodeInvalidSubject, []string{"secret"}},
		{`{"after":"alice"}`, messages.CodeInvalidRequest, []string{"after"}},
		{`{"after":"alice.ci.>"}`, messages.CodeInvalidRequest, []string{"after"}},
		{`{"after":"alice.ci.a.b"}`, messages.CodeInvalidRequest, []string{"after"}},
	} {
		r, err := messages.DecodeListRequest([]byte(c.body))
		wantCode(t, err, c.code, c.words...)
		if r != (messages.ListRequest{}) {
			t.Errorf("%s: got an error and a request: %+v", c.body, r)
		}
	}
}

func TestDecodeEmpty(t *testing.T) {
	for _, body := range []string{"", " \n", "{}", " {}\n"} {
		if err := messages.DecodeEmpty([]byte(body)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
	for _, body := range []string{"null", "[]", `{"a":1}`, "{}{}", "x", `""`, strings.Repeat("{}", 10_000)} {
		wantCode(t, messages.DecodeEmpty([]byte(body)), messages.CodeInvalidRequest, "{}")
	}
}

func TestCheckIdempotencyKey(t *testing.T) {
	for _, key := range []string{"a", "build 17 / job ~", strings.Repeat("k", 255), strings.Repeat("k", 256)} {
		if err := messages.CheckIdempotencyKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{strings.Repeat("k", 257), "a\nb", "a\x00", "a\x7f", "ä", "\xff", "a\tb", strings.Repeat("\n", 10_000)} {
		err := messages.CheckIdempotencyKey(key)
		wantCode(t, err, messages.CodeInvalidRequest, messages.HeaderIdempotencyKey)
		wantSafe(t, err)
	}
}
