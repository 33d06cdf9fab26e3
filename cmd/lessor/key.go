package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
)

func newKeyCmd(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Short:   "The broker's own key",
		GroupID: operators,
		Args:    cli.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Create a key for --key-file",
		Long: `Print a new key for the broker's --key-file.

The key seals credentials until they are delivered. All replicas need the same file. To
change the key, put the new key on the first line and keep the old one below it until
no lease is older: the first key seals, and all keys open.`,
		Example: `  (umask 077; lessor key new > broker.key)
  lessor serve --key-file broker.key --secrets ./secrets`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			seed, err := messages.NewKey()
			if err != nil {
				return err
			}
			defer clear(seed)
			_, err = fmt.Fprintf(env.Stdout, "%s\n", seed)
			return err
		},
	})
	return cmd
}
