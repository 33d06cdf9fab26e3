package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

// natsConfigCmd is the command that makes the NATS servers' configuration.
type natsConfigCmd struct {
	out string
	jwt bool
}

func newNATSConfigCmd(env *environment) *cobra.Command {
	var c natsConfigCmd
	cmd := &cobra.Command{
		Use:     "nats-config FILE",
		Short:   "Make the NATS servers' configuration: accounts, users and their rights",
		GroupID: operators,
		Long: `Make the configuration of the NATS servers from a short list of who uses lessor and
what each may lease: an account for the brokers, one for auditors, and one for each
operator and each requester, with the least rights that will do.

Users authenticate with nkeys, or with --jwt by JWTs that scoped signing keys have
signed. Without --out, what the accounts may is printed, and no key is made: as the
servers' configuration, or as what the accounts' JWTs say. With --out a folder gets
everything, private keys readable by this user alone; keys that are in it are kept,
so that the command may be run again after a change.

Of what is in the folder the servers need lessor.conf and what it includes, and
nothing that is below keys and creds.`,
		Example: `  lessor nats-config identities.yaml --out nats
  nats-server -c nats/lessor.conf
  lessor serve --nkey nats/keys/broker-broker.nk --inbox-prefix _INBOX_broker --key-file broker.key
  lessor request ci --identity alice --nkey nats/keys/requester-alice.nk --inbox-prefix _INBOX_alice
  lessor secret list --operator olga --nkey nats/keys/operator-olga.nk --inbox-prefix _INBOX_olga

  # with JWTs
  lessor nats-config identities.yaml --jwt --out nats
  lessor request ci --identity alice --creds nats/creds/requester-alice.creds --inbox-prefix _INBOX_alice`,
		Args: argument("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return c.run(env, args[0]) },
	}
	cmd.Flags().StringVar(&c.out, "out", "", "`folder` to write everything to (default: print what has no keys)")
	cmd.Flags().BoolVar(&c.jwt, "jwt", false, "users have JWTs, signed by their account's scoped signing key")
	return cmd
}

func (c *natsConfigCmd) run(env *environment, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	people, err := parseIdentities(data)
	if err != nil {
		return usagef("%s: %w", file, err)
	}
	accounts, err := people.accounts()
	if err != nil {
		return err
	}
	switch {
	case c.out == "" && c.jwt:
		text, err := claimsText(accounts)
		if err != nil {
			return err
		}
		_, err = env.Stdout.Write(text)
		return err
	case c.out == "":
		_, err := env.Stdout.Write(staticConf(accounts))
		return err
	}
	keys := keyFolder{dir: filepath.Join(c.out, "keys")}
	write := writeStatic
	if c.jwt {
		write = writeJWT
	}
	if err := write(c.out, accounts, keys); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	env.note("%s and what it includes are for the servers; each file below keys and creds is for its one user", filepath.Join(c.out, confFile))
	return nil
}

// people are who uses lessor.
type people struct {
	Prefix     string                `json:"prefix,omitempty"`
	Requesters map[string]mayLeaseOf `json:"requesters"`
	Brokers    []string              `json:"brokers"`
	Operators  []string              `json:"operators"`
	Auditors   []string              `json:"auditors"`
}

// mayLeaseOf are the names of dynamic secrets. "*" alone is any.
type mayLeaseOf []string

// UnmarshalJSON reads a list of names, or "all".
func (m *mayLeaseOf) UnmarshalJSON(data []byte) error {
	if string(data) == `"all"` {
		*m = mayLeaseOf{"*"}
		return nil
	}
	var names []string
	if err := json.Unmarshal(data, &names); err != nil || len(names) == 0 {
		return errors.New(`what a requester may lease must be a list of dynamic secrets, or "all"`)
	}
	for _, name := range names {
		if err := messages.CheckToken("a dynamic secret's name", name); err != nil {
			return errors.New(messages.AsError(err).Message)
		}
	}
	*m = names
	return nil
}

// parseIdentities reads the list. A name becomes a part of subjects, and one that
// is a wildcard would stand for everybody, so all are checked here.
func parseIdentities(data []byte) (people, error) {
	var p people
	if err := yaml.UnmarshalStrict(data, &p); err != nil {
		return p, errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: "))
	}
	if _, err := messages.NewNamespace(p.Prefix); err != nil {
		return p, errors.New(messages.AsError(err).Message)
	}
	requesters := make([]string, 0, len(p.Requesters))
	for name := range p.Requesters {
		requesters = append(requesters, name)
	}
	slices.Sort(requesters)
	for _, role := range []struct {
		name  string
		users []string
	}{{"requester", requesters}, {"broker", p.Brokers}, {"operator", p.Operators}, {"auditor", p.Auditors}} {
		for i, name := range role.users {
			if err := messages.CheckToken("the "+role.name+" "+fmt.Sprintf("%.70q", name), name); err != nil {
				return p, errors.New(messages.AsError(err).Message)
			}
			if slices.Contains(role.users[:i], name) {
				return p, fmt.Errorf("the %s %q is there twice", role.name, name)
			}
		}
	}
	if len(p.Brokers) == 0 {
		return p, errors.New("brokers: there is none; name at least one")
	}
	for name, secrets := range p.Requesters {
		if len(secrets) == 0 {
			return p, fmt.Errorf(`the requester %q may lease nothing; give a list of dynamic secrets, or "all"`, name)
		}
	}
	return p, nil
}

// The files of the servers. The first is the operators' own once it is there.
const (
	confFile     = "lessor.conf"
	accountsFile = "accounts.conf"
)

// serverConf is what a server is started with.
const serverConf = `# A NATS server for lessor. This file is yours: "lessor nats-config" makes it where it
# is missing, and leaves it alone after that.

server_name: lessor
listen: "127.0.0.1:4222"
jetstream: {store_dir: "./jetstream"}
# Credentials travel over these connections. Beyond one machine, use TLS:
# tls: {cert_file: "server.pem", key_file: "server-key.pem"}

include "./` + accountsFile + `"
`

// writeConf writes the accounts, and what a server is started with where there is
// none.
func writeConf(dir string, accounts []byte) error {
	if err := writeFile(filepath.Join(dir, accountsFile), accounts, 0o644); err != nil {
		return err
	}
	path := filepath.Join(dir, confFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeFile(path, []byte(serverConf), 0o644)
}

// writeFile replaces a file, unless it is as it should be.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeDurably(tmp, data); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, mode), os.Rename(tmp, path))
}
