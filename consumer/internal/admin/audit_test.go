package admin

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestCommandIsDescribedAsFarAsItsBodyIsValid(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]messages.Command{
		``:                           {},
		`null`:                       {},
		`[1]`:                        {},
		`{"name":"ci","force":true,`: {},
		`{"name":"ci","force":true}`: {Secret: "ci", Force: true},
		`{"name":"BAD","definition":{"name":"ci"},"no_check":true}`:          {Secret: "ci", NoCheck: true},
		`{"lease":"alice.ci.1","identity":"a.b","secret":"ci","apply":true}`: {Lease: "alice.ci.1", Secret: "ci", Apply: true},
		`{"lease":"alice.ci","identity":"alice","secret":"\u0000"}`:          {Identity: "alice"},
	} {
		if got := describe([]byte(body)); got != want {
			t.Errorf("%q: %+v, want %+v", body, got, want)
		}
	}
}

// FuzzDescribe: the event about a command names what can be, and has nothing else of
// the command's body.
func FuzzDescribe(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	for _, s := range []string{
		``, `{}`, `{"name":"ci","force":true}`, `{"lease":"alice.ci.06ct","reason":"` + key + `"}`, `{"identity":"alice","secret":"` + key + `"}`,
		`{"definition":{"name":"ci","aws":{"auth":{"secret_access_key":"` + key + `"}}},"no_check":true,"sealed":{"from":"X","box":"AAAA"}}`,
		`{"definition":{"name":"` + key + `"}}`, `{"NAME":"ci","Definition":[]}`, `{"name":1,"lease":"*.*.*","secret":"ci"}`, `{"apply":true}{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := describe(body)
		for _, s := range []string{c.Secret, c.Identity} {
			if s != "" && (messages.CheckToken("token", s) != nil || !bytes.Contains(bytes.ToLower(body), []byte(s)) && !bytes.ContainsRune(body, '\\')) {
				t.Errorf("%q is said of %s", s, body)
			}
		}
		if _, err := messages.ParseLeaseName(c.Lease); c.Lease != "" && err != nil {
			t.Errorf("%q is said of %s", c.Lease, body)
		}
		event, err := json.Marshal(c)
		if err != nil || len(event) > 600 || bytes.Contains(event, []byte(key)) {
			t.Errorf("the event has %s, %v", event, err)
		}
	})
}
