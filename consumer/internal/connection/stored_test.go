package connection

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

func TestDecodeRefusesWhatIsNotTheConnection(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{``, "unexpected end"},
		{`[]`, "cannot unmarshal"},
		{`{}`, "version 0"},
		{`{"v":2,"name":"a"}`, "version 2"},
		{`{"v":1,"name":"b"}`, "another connection"},
	} {
		_, err := decode("a", []byte(c.data))
		if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.data, err, c.want)
		}
	}
}

// FuzzDecode reads arbitrary bytes as a stored connection: it has the name that it is
// stored under, comes back as it was written, and an error is short and on one line.
func FuzzDecode(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	for _, s := range []string{
		``, `{}`, `null`, `[]`,
		`{"v":1,"name":"ci","region":"eu-central-1","auth":{"method":"access_key","access_key_id":"AKIAX"},"secret":{"from":"X","box":"AAAA"},"kept_at":"2026-11-22T12:00:00Z"}`,
		`{"v":1,"name":"ci","auth":{"secret_access_key":"` + key + `"}}`, `{"v":1,"name":"ci","auth":{"` + key + `":1}}`, `{"v":1,"kept_at":"` + key + `"}`, `{"v":1,"kept_at":"a\nb"}`,
	} {
		f.Add("ci", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if messages.CheckToken("name", name) != nil {
			return
		}
		s, err := decode(name, data)
		if err != nil {
			if len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("the error is %v", err)
			}
			return
		}
		if s.Name != name || s.Version != storedVersion {
			t.Errorf("%s has the connection %+v", name, s)
		}
		once, err := json.Marshal(s)
		if err != nil {
			return // a time that JSON can read and not write
		}
		if s.Auth.SecretAccessKey.IsZero() == bytes.Contains(once, []byte("secret_access_key")) {
			t.Errorf("written as %s", once)
		}
		again, err := decode(name, once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("came back as\n%s, was\n%s: %v", twice, once, err)
		}
	})
}

func TestKeyIsPassedToConnectionsOfThePrincipal(t *testing.T) {
	manager := &provider.Principal{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/manager"}
	deputy := &provider.Principal{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/deputy"}
	keyed := func(id string, p *provider.Principal, retired ...string) stored {
		return stored{Auth: messages.Auth{AccessKeyID: id}, Secret: &messages.Sealed{}, Principal: p, Retired: retired}
	}
	for _, c := range []struct {
		name        string
		from, other stored
		want        bool
	}{
		{"same principal, another key", keyed("new", manager), keyed("old", manager), true},
		{"same principal, same key", keyed("new", manager), keyed("new", manager), false},
		{"another principal", keyed("new", manager), keyed("old", deputy), false},
		{"principal not known yet", keyed("new", manager), keyed("old", nil), false},
		{"no principal known", keyed("new", nil), keyed("old", nil), false},
		{"its key was retired here", keyed("new", manager, "old"), keyed("old", nil), true},
		{"it has retired the key itself", keyed("old", manager), keyed("new", manager, "old"), false},
		{"it has no key", keyed("new", manager), stored{Principal: manager}, false},
		{"there is no key to pass", stored{Principal: manager}, keyed("old", manager), false},
	} {
		if got := c.from.passesKeyTo(c.other); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
