package secrets

import (
	"errors"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestDecodeKeepsWhatStandsBesideADefinitionThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		data string
		want stored
		code messages.Code
	}{
		{`{"v":1,"source":"file","deleting":true,"definition":{"name":"ci","tomorrow":1}}`, stored{Version: 1, Source: SourceFile, Deleting: true}, messages.CodeInvalidSecret},
		{`{"v":1,"definition":{"name":"cd"}}`, stored{Version: 1}, messages.CodeInvalidSecret},
		{`[]`, stored{}, messages.CodeInvalidSecret},
		{`{"v":2,"source":"file","definition":{"name":"ci"}}`, stored{}, messages.CodeInternal},
	} {
		got, err := decode("ci", []byte(c.data))
		if !messages.IsCode(err, c.code) || got.Version != c.want.Version || got.Source != c.want.Source || got.Deleting != c.want.Deleting || got.usable() {
			t.Errorf("%s: %+v, %v", c.data, got, err)
		}
	}
}

// FuzzDecode reads arbitrary bytes as a stored definition: it has the name that it is
// stored under, one of a newer version is not used, and an error shows no secret access
// key.
func FuzzDecode(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"v":1,"definition":{"name":"ci"}}`, `{"v":1,"source":"file","deleting":true,"definition":{"name":"ci","aws":{"region":"eu-central-1"}}}`,
		`{"v":2,"definition":{"name":"ci"}}`, `{"v":1,"definition":{"name":"cd"}}`, `{"v":1,"definition":{"name":"ci","aws":{"auth":{"secret_access_key":["` + key + `"]}}}}`,
		`{"v":1,"definition":{"name":"ci","username_template":"{{random 0}}"}}`,
	} {
		f.Add("ci", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if messages.CheckToken("name", name) != nil {
			return
		}
		s, err := decode(name, data)
		if err != nil && (len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), key)) {
			t.Errorf("the error is %v", err)
		}
		if err == nil && (s.Definition.Name != name || s.Version > storedVersion || !s.usable()) {
			t.Errorf("%s has %+v", name, s)
		}
		if errors.Is(err, ErrNewerVersion) && s.Definition.Name != "" {
			t.Errorf("the definition of a newer broker is used: %+v", s)
		}
		if c, err := compile(name, data); err == nil && (c.Name != name || s.Deleting) {
			t.Errorf("%s issues leases: %s", name, data)
		}
	})
}
