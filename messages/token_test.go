package messages_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
)

func TestCheckToken(t *testing.T) {
	for _, value := range []string{"a", "0", "_", "-", "alice", "build-17_x", "abcdefghijklmnopqrstuvwxyz0123456789_-", strings.Repeat("z", 63), strings.Repeat("z", 64)} {
		if err := messages.CheckToken("identity", value); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestCheckTokenRefusesOtherText(t *testing.T) {
	for name, value := range map[string]string{
		"empty": "", "65 letters": strings.Repeat("z", 65), "10 kB": strings.Repeat("z", 10_000), "upper case": "Alice",
		"dot": "a.b", "only a dot": ".", "star": "*", "greater": ">", "star within": "a*", "blank": "a b", "blank before": " a", "blank behind": "a ",
		"line break": "a\n", "carriage return": "a\r", "tab": "a\t", "NUL": "a\x00", "DEL": "a\x7f", "slash": "a/b", "dollar": "$js", "at": "a@b", "colon": "a:b",
		"plus": "a+b", "equals": "a=b", "comma": "a,b", "tilde": messages.Unknown, "quote": `a"b`, "brace": "{a}", "percent": "a%62",
		"next to 0": "/", "next to 9": ":", "next to a": "`", "next to z": "{", "next to minus": ",", "next to underscore": "^",
		"Cyrillic a": "аlice", "Greek omicron": "ο", "full-width a": "ａlice", "full-width digit": "１", "Arabic digit": "١", "long s": "ſ", "Kelvin sign": "K",
		"dotless i": "alıce", "superscript 2": "a²", "combining accent": "e\u0301", "composed accent": "é", "soft hyphen": "a\u00adb", "zero-width space": "a\u200bb",
		"zero-width joiner": "a\u200db", "right to left": "a\u202eb", "byte order mark": "\ufeffa", "non-breaking hyphen": "a\u2011b", "en dash": "a–b", "minus sign": "a−b",
		"full-width low line": "a＿b", "ligature": "ﬁ", "emoji": "🔑", "invalid UTF-8": "a\xff", "overlong a": "\xc1\xa1",
	} {
		t.Run(name, func(t *testing.T) {
			err := messages.CheckToken("identity", value)
			wantCode(t, err, messages.CodeInvalidSubject, "identity")
			wantSafe(t, err)
			if len(value) > 4 && strings.Contains(err.Error(), value) {
				t.Errorf("the error echoes it: %v", err)
			}
		})
	}
}

func TestLeaseNamesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := messages.LeaseName{Identity: tokens.Draw(t, "identity"), Secret: tokens.Draw(t, "secret"), ID: tokens.Draw(t, "id")}
		if back, err := messages.ParseLeaseName(n.String()); err != nil || back != n {
			t.Fatalf("%s: parsed again: %s, %v", n, back, err)
		}
		if made, err := messages.NewLeaseName(n.Identity, n.Secret, n.ID); err != nil || made != n {
			t.Fatalf("%s was made %s, %v", n, made, err)
		}
	})
}

func TestParseLeaseNameRefuses(t *testing.T) {
	for s, word := range map[string]string{
		"": "1", "alice": "1", "alice.ci": "2", "alice.ci.06ct.x": "4", "alice.ci.06ct.": "4", ".alice.ci.06ct": "4", "...": "4",
		"..": "identity", ".ci.06ct": "identity", "alice..06ct": "secret", "alice.ci.": "id", "Alice.ci.06ct": "identity", "alice.CI.06ct": "secret",
		"alice.ci.*": "id", "alice.*.06ct": "secret", "alice.ci.>": "id", "alice.ci.06ct\n": "id", "alice.ci.06CT": "id", "alice ci 06ct": "1",
		strings.Repeat("a", 65) + ".ci.06ct": "identity", strings.Repeat(".", 10_000): "10001",
	} {
		n, err := messages.ParseLeaseName(s)
		wantCode(t, err, messages.CodeInvalidSubject, word)
		wantSafe(t, err)
		if n != (messages.LeaseName{}) {
			t.Errorf("%.40q: got an error and a name: %+v", s, n)
		}
	}
}

func TestNewLeaseNameErrorNamesThePart(t *testing.T) {
	for _, c := range []struct{ identity, secret, id, word string }{
		{"a.b", "ci", "06ct", "identity"}, {"alice", "c.i", "06ct", "secret"}, {"alice", "ci", "06.ct", "id"}, {"", "", "", "identity"},
	} {
		n, err := messages.NewLeaseName(c.identity, c.secret, c.id)
		wantCode(t, err, messages.CodeInvalidSubject, c.word)
		if n != (messages.LeaseName{}) {
			t.Errorf("got an error and a name: %+v", n)
		}
	}
}
