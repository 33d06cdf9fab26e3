package natsconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// FuzzParseIdentities parses arbitrary lists of identities. An accepted list gives a
// configuration that NATS can read, and in which no requester may publish as another.
func FuzzParseIdentities(f *testing.F) {
	shipped, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "nats", "identities.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	for _, s := range []string{
		``, `{}`, `brokers: [b]`, "brokers: [b]\nrequesters: {a: all, b: [x, y]}\noperators: [o]\nauditors: [a]\n", "brokers: [b]\nrequesters: {'*': all}\n",
		"brokers: [b, b]\n", "brokers: [b]\nrequesters: {a: ['*']}\n", "brokers: [b]\nrequesters: {a: ['>', 'a.b']}\n", "brokers: [b]\nrequesters: {a: []}\n", "brokers: [b]\nrequesters: {a: null}\n",
		"prefix: x\nbrokers: [1]\n", "prefix: a.b\nbrokers: [b]\n", "brokers: [B]\n", "brokers: [b]\nbrokers: [c]\n", "brokers: ['a\"}']\n", "brokers: [b]\noperators: [\"o\\n\"]\n",
		"a: &a [*a]\n", "brokers: [-]\nrequesters: {_r_: all, -: [_]}\nauditors: [_]\n", "brokers: [b]\nrequesters: {on: all, 1: [1e3]}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseIdentities(data)
		if err != nil {
			return
		}
		accounts, err := p.Accounts()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(StaticConf(accounts)), fmt.Sprintf("include %q", "./"+keysFile), "", 1)
		seen := map[string]bool{}
		for _, a := range accounts {
			if seen["account "+a.name] {
				t.Errorf("there are two accounts %s", a.name)
			}
			seen["account "+a.name] = true
			for _, user := range a.users {
				key := userKey(a.role, user)
				if seen[key] || a.name != systemAccount && messages.CheckToken("user", user) != nil {
					t.Errorf("there is a user %q, or two", key)
				}
				seen[key] = true
				text = fmt.Sprintf("%s: \"U\"\n", key) + text
			}
		}
		if read, err := conf.Parse(text); err != nil || len(read["accounts"].(map[string]any)) != len(accounts) {
			t.Errorf("NATS reads %d accounts, %v:\n%s", len(read), err, text)
		}
		checkRequesterSubjects(t, accounts)
	})
}

// checkRequesterSubjects checks that no two requesters share a subject.
func checkRequesterSubjects(t *testing.T, accounts []Account) {
	t.Helper()
	owner := map[string]string{} // of the subjects up to the identity
	for _, a := range accounts {
		if a.role != "requester" {
			continue
		}
		for _, s := range a.may(a.name).publish {
			tokens := strings.Split(s, ".")
			if len(tokens) < 4 || tokens[3] != a.name || strings.Contains(strings.Join(tokens[:4], ""), "*") || strings.Contains(s, ">") || !server.IsValidSubject(s) {
				t.Errorf("%s may publish on %s", a.name, s)
				continue
			}
			if up := strings.Join(tokens[:4], "."); owner[up] != "" && owner[up] != a.name {
				t.Errorf("%s and %s may both publish on %s", a.name, owner[up], up)
			} else {
				owner[up] = a.name
			}
		}
		if in := a.may(a.name).subscribe; len(in) != 1 || in[0] != "_INBOX_"+a.name+".>" {
			t.Errorf("%s may subscribe to %v", a.name, in)
		}
	}
}

// FuzzKeyFolder reads arbitrary files as a user's key. A file that is not one is left alone,
// and no error shows its content.
func FuzzKeyFolder(f *testing.F) {
	const seed = "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	f.Add([]byte(""))
	f.Add([]byte(seed))
	for _, kind := range []nkeys.PrefixByte{nkeys.PrefixByteUser, nkeys.PrefixByteAccount, nkeys.PrefixByteCurve} {
		s, err := nkeys.EncodeSeed(kind, make([]byte, 32))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s)
		f.Add(append(s, "\r\n\n"...))
		f.Add(append([]byte(" "), s[:40]...))
	}
	folder := keyFolder{dir: f.TempDir()}
	path := filepath.Join(folder.dir, "user"+seedSuffix)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		pair, err := folder.key("user", nkeys.PrefixByteUser)
		if left, readErr := os.ReadFile(path); readErr != nil || string(left) != string(data) {
			t.Errorf("%q became %q, %v", data, left, readErr)
		}
		if err != nil {
			if text := strings.TrimSpace(string(data)); len(text) > 8 && strings.Contains(err.Error(), text) || len(err.Error()) > 400 {
				t.Errorf("the error shows what may be a seed: %v", err)
			}
			return
		}
		public, err := pair.PublicKey()
		if err != nil || !nkeys.IsValidPublicUserKey(public) {
			t.Errorf("%q is accepted: %s, %v", data, public, err)
		}
		signature, err := pair.Sign([]byte("x"))
		if err != nil || pair.Verify([]byte("x"), signature) != nil {
			t.Errorf("%q is accepted, and can't sign: %v", data, err)
		}
	})
}
