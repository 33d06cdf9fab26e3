package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/natsconfig"
)

// natsConfigCmd is the command that makes the NATS servers' configuration.
type natsConfigCmd struct {
	out string
	jwt bool
}

func newNATSConfigCmd(env *cli.Environment) *cobra.Command {
	var c natsConfigCmd
	cmd := &cobra.Command{
		Use:     "nats-config FILE",
		Short:   "Make the NATS servers' configuration: accounts, users and permissions",
		GroupID: operators,
		Long: `Make the configuration of the NATS servers from a list of the identities that use lessor
and of what each may lease: an account for the brokers, one for auditors, and one for
each operator and each requester, with the least permissions that work.

Users authenticate with nkeys, or with --jwt by JWTs of scoped signing keys. Without
--out the accounts are printed, as the servers' configuration or as the claims of the
accounts' JWTs, and no keys are created. With --out everything is written to a folder;
only this user can read the private keys. Keys in the folder are kept, so the command
can be run again after a change.

The NATS servers need lessor.conf and the files that it includes, and nothing of the
folders keys and creds.`,
		Example: `  lessor nats-config identities.yaml --out nats
  nats-server -c nats/lessor.conf
  lessor serve --nkey nats/keys/broker-broker.nk --inbox-prefix _INBOX_broker --key-file broker.key
  lessor request ci --identity alice --nkey nats/keys/requester-alice.nk --inbox-prefix _INBOX_alice
  lessor secret list --operator olga --nkey nats/keys/operator-olga.nk --inbox-prefix _INBOX_olga

  # with JWTs
  lessor nats-config identities.yaml --jwt --out nats
  lessor request ci --identity alice --creds nats/creds/requester-alice.creds --inbox-prefix _INBOX_alice`,
		Args: cli.Argument("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return c.run(env, args[0]) },
	}
	cmd.Flags().StringVar(&c.out, "out", "", "`folder` to write everything to (default: print the accounts without keys)")
	cmd.Flags().BoolVar(&c.jwt, "jwt", false, "users have JWTs, signed by their account's scoped signing key")
	return cmd
}

// run prints the accounts, or writes them with their keys.
func (c *natsConfigCmd) run(env *cli.Environment, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	identities, err := natsconfig.ParseIdentities(data)
	if err != nil {
		return cli.Usagef("%s: %w", file, err)
	}
	accounts, err := identities.Accounts()
	if err != nil {
		return err
	}
	switch {
	case c.out == "" && c.jwt:
		text, err := natsconfig.ClaimsText(accounts)
		if err != nil {
			return err
		}
		_, err = env.Stdout.Write(text)
		return err
	case c.out == "":
		_, err := env.Stdout.Write(natsconfig.StaticConf(accounts))
		return err
	}
	write := natsconfig.WriteStatic
	if c.jwt {
		write = natsconfig.WriteJWT
	}
	if err := write(c.out, accounts); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	env.Note("%s and what it includes are for the servers; each file in keys and creds is for one user", filepath.Join(c.out, natsconfig.ConfFile))
	return nil
}
