package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// deletionInterval is the wait between two requests for the state of a deletion.
const deletionInterval = time.Second

// deleteCmd is the command that deletes a dynamic secret.
type deleteCmd struct {
	operator
	force, yes, noWait bool
}

func newSecretDeleteCmd(env *cli.Environment) *cobra.Command {
	var d deleteCmd
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a dynamic secret and revoke its leases",
		Long: `Delete a dynamic secret: no more leases are issued, its leases are revoked, and then the
definition is deleted. The command waits until that is done, without a limit (--timeout
is for single replies of the broker). If it stops waiting, the broker continues, and
the same command shows how far the deletion is.

With --force the definition is deleted at once. The leases are revoked all the same.

A secret that comes from a file can be deleted after its file was removed.`,
		Example: `  lessor secret delete ci
  lessor secret delete ci --yes --no-wait`,
		Args: cli.Argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.checkNamed(env, args[0]); err != nil {
				return err
			}
			if err := d.confirm(cmd.Context(), env, args[0]); err != nil {
				return err
			}
			return d.request(cmd.Context(), env, "", func(ctx context.Context, a *client.Admin) error {
				return d.run(ctx, env, a, args[0])
			})
		},
	}
	d.register(cmd)
	cmd.Flags().BoolVar(&d.force, "force", false, "delete the definition without waiting for its leases")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "don't ask for confirmation; without a terminal there is no question")
	cmd.Flags().BoolVar(&d.noWait, "no-wait", false, "start the deletion and don't wait for its end")
	return cmd
}

// confirm asks for a confirmation, if standard input is a terminal.
func (d *deleteCmd) confirm(ctx context.Context, env *cli.Environment, name string) error {
	if d.yes || !env.IsTerminal(env.Stdin) {
		return nil
	}
	_, _ = fmt.Fprintf(env.Stderr, "Delete the dynamic secret %s and revoke all its leases? [y/N] ", name) // without an answer nothing is deleted
	answer := make(chan string, 1)
	go func() { // a read from a terminal can't be cancelled
		line, _ := bufio.NewReader(env.Stdin).ReadString('\n') // an error is not a yes
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
	case <-ctx.Done():
	}
	return errors.New("nothing was deleted")
}

// run starts the deletion and waits for its end.
func (d *deleteCmd) run(ctx context.Context, env *cli.Environment, a *client.Admin, name string) error {
	p := env.Progress()
	defer p.Clear()
	reported := ""
	for begun := false; ; begun = true {
		now, err := a.DeleteSecret(ctx, name, d.force)
		switch {
		case begun && messages.IsCode(err, messages.CodeSecretNotFound):
			now, err = messages.SecretDeletion{Name: name, Done: true}, nil // the deletion has ended since the last request
		case err != nil && begun:
			return d.left(ctx, name, err)
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("interrupted; it is not known whether the deletion of %s has begun; lessor secret get %s shows it", name, name)
		case err != nil:
			return err
		}
		if now.Done || d.noWait {
			p.Clear()
			return d.print(env, now)
		}
		p.Show("%s: %s", name, remaining(now))
		if now.Error != "" && now.Error != reported { // a failure is noted without a terminal, too
			reported = now.Error
			p.Clear()
			env.Note("%s: %s; the broker keeps trying", name, remaining(now))
		}
		select {
		case <-ctx.Done():
			return d.left(ctx, name, ctx.Err())
		case <-time.After(deletionInterval):
		}
	}
}

// left returns the error of a command that stops waiting for a deletion.
func (d *deleteCmd) left(ctx context.Context, name string, err error) error {
	again := fmt.Sprintf(`the broker continues to delete %s; "lessor secret delete %s" shows how far it is`, name, name)
	if ctx.Err() != nil {
		return errors.New("stopped waiting; " + again)
	}
	return fmt.Errorf("%w; %s", err, again)
}

// remaining returns what is left of a deletion.
func remaining(d messages.SecretDeletion) string {
	text := fmt.Sprintf("%d leases left", d.Leases)
	if d.Leases == 1 {
		text = "1 lease left"
	}
	if d.Failing > 0 {
		text += fmt.Sprintf(", %d of them can't be revoked yet", d.Failing)
	}
	if d.Error != "" {
		text += ": " + d.Error
	}
	return text
}

// print prints the state of a deletion.
func (d *deleteCmd) print(env *cli.Environment, now messages.SecretDeletion) error {
	if d.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindDeletion, Deletion: &now})
	}
	text := "is being deleted, " + remaining(now)
	switch {
	case now.Done && now.Leases > 0:
		text = "is deleted; " + remaining(now) + ", which the broker continues to revoke"
	case now.Done:
		text = "is deleted"
	}
	_, err := fmt.Fprintln(env.Stdout, now.Name, cli.OneLine(text))
	return err
}
