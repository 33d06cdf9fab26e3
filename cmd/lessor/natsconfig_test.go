//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/natsconfig"
)

// identitiesFile is the shipped list of identities.
const identitiesFile = "../../deploy/nats/identities.yaml"

// natsConfigModes are the flags of nats-config, by the folder with the shipped files.
var natsConfigModes = map[string][]string{"static": nil, "jwt": {"--jwt"}}

// TestShippedNATSConfigIsUpToDate makes the configuration of the shipped list again: it is
// what is shipped, and no key is in it.
func TestShippedNATSConfigIsUpToDate(t *testing.T) {
	t.Parallel()
	for mode, flags := range natsConfigModes {
		dir := t.TempDir()
		shell(nil).OK(t, append([]string{"nats-config", identitiesFile, "--out", dir}, flags...)...)
		server, err := os.ReadFile(filepath.Join(dir, natsconfig.ConfFile))
		if err != nil {
			t.Fatal(err)
		}
		accounts := shell(nil).OK(t, append([]string{"nats-config", identitiesFile}, flags...)...)
		accountsFile := map[string]string{"static": "accounts.conf", "jwt": "accounts.json"}[mode]
		for file, want := range map[string]string{natsconfig.ConfFile: string(server), accountsFile: accounts} {
			shipped, err := os.ReadFile(filepath.Join("../../deploy/nats", mode, file))
			if err != nil {
				t.Fatal(err)
			}
			if string(shipped) != want {
				t.Errorf("deploy/nats/%s/%s is not what nats-config makes of identities.yaml", mode, file)
			}
			if key := anyKey.FindString(string(shipped)); key != "" {
				t.Errorf("deploy/nats/%s/%s has a key: %.4s…", mode, file, key)
			}
		}
	}
}

// anyKey matches an nkey, public or seed, or a JWT.
var anyKey = regexp.MustCompile(`\bS?[OAU][A-Z2-7]{50,}|eyJ[A-Za-z0-9_-]{10}`)

// TestNATSConfigKeepsKeys makes the configuration twice, with another requester the
// second time.
func TestNATSConfigKeepsKeys(t *testing.T) {
	t.Parallel()
	for _, mode := range [][]string{nil, {"--jwt"}} {
		dir := t.TempDir()
		list := filepath.Join(t.TempDir(), "identities.yaml")
		once := func(requesters string) map[string]string {
			t.Helper()
			if err := os.WriteFile(list, []byte("brokers: [one]\nrequesters: {"+requesters+"}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := shell(nil).Run(t.Context(), append([]string{"nats-config", list, "--out", dir}, mode...)...)
			if code != cli.ExitOK || stdout != "" || anyKey.MatchString(stderr) {
				t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
			}
			kept := map[string]string{}
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				data, err := os.ReadFile(path)
				kept[strings.TrimPrefix(path, dir)] = string(data)
				info, statErr := d.Info()
				if seeds.Match(data) && statErr == nil && info.Mode().Perm() != 0o600 {
					t.Errorf("%s has a private key and is %s", path, info.Mode())
				}
				return errors.Join(err, statErr)
			})
			if err != nil {
				t.Fatal(err)
			}
			return kept
		}
		before := once("alice: [ci]")
		own := before["/"+natsconfig.ConfFile] + "# mine\n"
		if err := os.WriteFile(filepath.Join(dir, natsconfig.ConfFile), []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		after := once("alice: [ci], bob: all")
		if after["/"+natsconfig.ConfFile] != own {
			t.Errorf("%s has changed", natsconfig.ConfFile)
		}
		private := 0
		for path, text := range before {
			if seeds.MatchString(text) && strings.HasSuffix(path, ".nk") {
				private++
				if after[path] != text {
					t.Errorf("%s has changed", path)
				}
			}
		}
		if private < 3 || len(after) <= len(before) {
			t.Errorf("%d private keys, %d files and then %d", private, len(before), len(after))
		}
		for _, public := range []string{natsconfig.ConfFile, "keys.conf", "accounts.conf"} {
			if seeds.MatchString(after["/"+public]) {
				t.Errorf("%s has a private key", public)
			}
		}
	}
}

// TestReloadPutsANewConfigInForce adds a requester, and removes one, while the server runs.
func TestReloadPutsANewConfigInForce(t *testing.T) {
	t.Parallel()
	for _, mode := range [][]string{nil, {"--jwt"}} {
		dir := t.TempDir()
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		list := filepath.Join(dir, "identities.yaml")
		configure := func(requesters string) {
			t.Helper()
			ok(os.WriteFile(list, []byte("brokers: [one]\nrequesters: {"+requesters+"}\n"), 0o600))
			if _, stderr, code := shell(nil).Run(t.Context(), append([]string{"nats-config", list, "--out", dir}, mode...)...); code != cli.ExitOK {
				t.Fatal(stderr)
			}
		}
		conf := filepath.Join(dir, natsconfig.ConfFile)
		ok(os.WriteFile(conf, fmt.Appendf(nil, "listen: \"127.0.0.1:-1\"\njetstream: {store_dir: %q}\ninclude \"./accounts.conf\"\n", t.TempDir()), 0o600))
		configure("alice: [ci]")
		o, err := server.ProcessConfigFile(conf)
		ok(err)
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		ok(err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		connects := func(user string) bool {
			t.Helper()
			auth := nats.UserCredentials(filepath.Join(dir, "creds", "requester-"+user+".creds"))
			if mode == nil {
				auth, err = nats.NkeyOptionFromSeed(filepath.Join(dir, "keys", "requester-"+user+".nk"))
				ok(err)
			}
			nc, err := nats.Connect(s.ClientURL(), auth)
			if err == nil {
				nc.Close()
			}
			return err == nil
		}
		configure("bob: all")
		if !connects("alice") || connects("bob") {
			t.Errorf("%q: before the reload", mode)
		}
		ok(s.Reload())
		if connects("alice") || !connects("bob") {
			t.Errorf("%q: after the reload", mode)
		}
	}
}

// TestWrongIdentitiesAreRefused has lists that would give more permissions than intended.
func TestWrongIdentitiesAreRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                               "brokers",
		"brokers: [b]\nrequesters: {'*': [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {'>': [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {a.b: [ci]}":          "a-z",
		"brokers: [b]\nrequesters: {LESSOR: [ci]}":       "a-z",
		"brokers: [b]\nrequesters: {'b\u043eb': [ci]}":   "a-z",
		"brokers: [b]\nrequesters: {'{{name()}}': [ci]}": "a-z",
		"brokers: [b]\nrequesters: {a: ['*']}":           "a-z",
		"brokers: [b]\nrequesters: {a: ['>']}":           "a-z",
		"brokers: [b]\nrequesters: {a: ci}":              "all",
		"brokers: [b]\nrequesters: {a: []}":              "all",
		"brokers: [b]\nrequesters: {a: null}":            "all",
		"brokers: [b]\nrequesters: {a: [ci], a: [prod]}": "already",
		"brokers: ['*']":                                 "a-z",
		"brokers: [b, b]":                                "twice",
		"brokers: [b]\noperators: ['o o']":               "a-z",
		"brokers: [b]\nauditors: ['$x']":                 "a-z",
		"brokers: [b]\nprefix: a.b":                      "prefix",
		"brokers: [b]\nadmins: [x]":                      "admins",
	} {
		file := filepath.Join(t.TempDir(), "identities.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := shell(nil).Run(t.Context(), "nats-config", file); code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, want %q: %s%s", text, code, says, stdout, stderr)
		}
	}
	if _, stderr, code := shell(nil).Run(t.Context(), "nats-config", "no such file"); code != cli.ExitFailed || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// configuredServer is a NATS server with the accounts that nats-config makes.
type configuredServer struct {
	*embedded.Server
	dir string // the command's --out
	jwt bool
}

func startConfigured(t *testing.T, flags []string) configuredServer {
	t.Helper()
	c := configuredServer{dir: t.TempDir(), jwt: len(flags) > 0}
	shell(nil).OK(t, append([]string{"nats-config", identitiesFile, "--out", c.dir}, flags...)...)
	var err error
	c.Server, err = embedded.Start(embedded.Options{Listen: "127.0.0.1:0", Configure: func(o *server.Options) {
		store := o.StoreDir
		if err := o.ProcessConfigFile(filepath.Join(c.dir, natsconfig.ConfFile)); err != nil {
			t.Error(err)
		}
		o.JetStream, o.StoreDir, o.Host, o.Port = true, store, "127.0.0.1", server.RANDOM_PORT
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// flags are the flags of a user.
func (c configuredServer) flags(role, user string) []string {
	flags := []string{"--server", c.URL(), "--inbox-prefix", "_INBOX_" + user}
	if c.jwt {
		return append(flags, "--creds", filepath.Join(c.dir, "creds", role+"-"+user+".creds"))
	}
	return append(flags, "--nkey", filepath.Join(c.dir, "keys", role+"-"+user+".nk"))
}

// TestCommandsWithAccounts runs a broker, and commands of each role, with the configuration
// of nats-config.
func TestCommandsWithAccounts(t *testing.T) {
	t.Parallel()
	for mode, flags := range natsConfigModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			nats, s, keyFile := startConfigured(t, flags), newProcesses(t), newKeyFile(t)
			p := s.start(nil, append([]string{"serve", "--key-file", keyFile, "--secrets", s.secrets}, nats.flags("broker", "broker")...)...)
			p.Logs("broker is up")
			as := func(role, user string, args ...string) string {
				t.Helper()
				return at("").OK(t, append(args, nats.flags(role, user)...)...)
			}
			alice := func(args ...string) string { t.Helper(); return as("requester", "alice", args...) }
			printed := alice("request", "ci", "-i", "alice", "--sealed")
			name := submatch(t, printed, `lease +(\S+)`)
			clitest.Eventually(t, "it is confirmed", func() bool {
				return strings.Contains(as("auditor", "audrey", "events", "--no-follow"), "confirmed")
			})
			alice("renew", name, "--ttl", "2h")
			if !strings.Contains(alice("list", "-i", "alice")+alice("show", name), name) {
				t.Error("the lease is not shown")
			}
			alice("revoke", name)
			as("operator", "olga", "secret", "check", "ci", "--operator", "olga")
			as("operator", "kim", "sweep", "--operator", "kim")
			for _, events := range []string{as("operator", "olga", "events", "--no-follow"), as("auditor", "audrey", "events", "--no-follow")} {
				for _, e := range []string{"issued", "confirmed", "renewed", "revoked", "secret-check done  by=olga", "sweep done  by=kim"} {
					if !strings.Contains(events, e) {
						t.Errorf("no event %s in\n%s", e, events)
					}
				}
			}
			key := strings.TrimSpace(shell(nil).OK(t, "audit", "keys", "--key-file", keyFile))
			if verified := as("auditor", "audrey", "audit", "verify", "--key", key, "--js-domain", "lessor"); !strings.Contains(verified, "events, 1 to ") {
				t.Errorf("the auditor verifies %s", verified)
			}
			_, stderr, code := shell(nil).Run(t.Context(), append([]string{"request", "prod", "-i", "alice"}, nats.flags("requester", "alice")...)...)
			if code != cli.ExitFailed || !strings.Contains(stderr, "NATS does not allow this connection requests as alice") {
				t.Errorf("a secret that alice may not lease: exit code %d, %s", code, stderr)
			}
			p.Stop()
			if log := p.Stderr.String(); strings.Contains(log, "Violation") {
				t.Errorf("NATS refuses the broker something: %s", log)
			}
		})
	}
}

// seeds matches private keys.
var seeds = regexp.MustCompile(`\bS[OAU][A-Z2-7]{50,}`)
