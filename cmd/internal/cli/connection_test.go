package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jsm.go/natscontext"
)

func TestContexts(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	dir := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"prod": `{"url":"nats://prod:4222","user":"alice","password":"p","inbox_prefix":"_INBOX_alice","jetstream_domain":"hub"}`,
		"test": `{"url":"nats://test:4222","creds":"/c"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := natscontext.SelectContext("prod"); err != nil {
		t.Fatal(err)
	}
	type result struct{ url, user, creds, token, inbox, domain string }
	for name, tt := range map[string]struct {
		c    Connection
		want result
	}{
		"the selected one":          {Connection{}, result{"nats://prod:4222", "alice", "", "", "_INBOX_alice", "hub"}},
		"not for another server":    {Connection{Server: "nats://other:4222"}, result{url: "nats://other:4222"}},
		"a named one":               {Connection{Context: "test"}, result{url: "nats://test:4222", creds: "/c"}},
		"flags go before it":        {Connection{Context: "prod", Server: "nats://b:4222", inboxPrefix: "_I", jsDomain: "leaf"}, result{"nats://b:4222", "alice", "", "", "_I", "leaf"}},
		"one way to authenticate":   {Connection{Context: "prod", creds: "/d"}, result{"nats://prod:4222", "", "/d", "", "_INBOX_alice", "hub"}},
		"a token instead of a user": {Connection{Context: "prod", token: "t"}, result{"nats://prod:4222", "", "", "t", "_INBOX_alice", "hub"}},
	} {
		c, err := tt.c.natsContext()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := (result{c.ServerURL(), c.User(), c.Creds(), c.Token(), c.InboxPrefix(), c.JSDomain()}); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
	if _, err := (&Connection{Context: "gone"}).natsContext(); err == nil {
		t.Error("a context that does not exist is taken")
	}
}

func TestServersWithoutSecrets(t *testing.T) {
	for servers, want := range map[string]string{
		"nats://a:4222":                                "nats://a:4222",
		"nats://u:p@a:4222, tls://token@b:4222":        "nats://a:4222,tls://b:4222",
		"u:p@a:4222":                                   "a:4222",
		"nats://u:p%zz@a:4222":                         "a:4222",
		"ws://u:p@a:80/path?x=1,nats://127.0.0.1:4222": "ws://a:80/path?x=1,nats://127.0.0.1:4222",
	} {
		if got := withoutSecrets(servers); got != want {
			t.Errorf("%s: got %s, want %s", servers, got, want)
		}
	}
}
