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

// deletionPace is the wait between two questions how far a deletion is.
const deletionPace = time.Second

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
		Long: `Delete a dynamic secret: it gives no more leases, those it gave are revoked, and when
the last one is gone, so is the definition. The command waits for that, however long
it takes (--timeout is for the broker's answers); where it stops waiting, the broker
goes on, and the same command tells how far it is.

With --force the definition goes at once. The leases are revoked all the same.

A secret that comes from a file can be deleted when its file is gone.`,
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
			return d.ask(cmd.Context(), env, "", func(ctx context.Context, a *client.Admin) error {
				return d.run(ctx, env, a, args[0])
			})
		},
	}
	d.register(cmd)
	cmd.Flags().BoolVar(&d.force, "force", false, "drop the definition without waiting until its leases are gone")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "don't ask; without a terminal nobody is asked anyway")
	cmd.Flags().BoolVar(&d.noWait, "no-wait", false, "begin the deletion, and don't wait for its end")
	return cmd
}

// confirm asks the person at the terminal, if there is one.
func (d *deleteCmd) confirm(ctx context.Context, env *cli.Environment, name string) error {
	if d.yes || !env.IsTerminal(env.Stdin) {
		return nil
	}
	_, _ = fmt.Fprintf(env.Stderr, "Delete the dynamic secret %s and revoke all its leases? [y/N] ", name) // an unseen question is answered with no
	answer := make(chan string, 1)
	go func() { // a terminal can't be told to stop waiting
		line, _ := bufio.NewReader(env.Stdin).ReadString('\n') // what can't be read is no yes
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

// run deletes, and waits until the secret is gone.
func (d *deleteCmd) run(ctx context.Context, env *cli.Environment, a *client.Admin, name string) error {
	p := env.Progress()
	defer p.Clear()
	told := ""
	for begun := false; ; begun = true {
		now, err := a.DeleteSecret(ctx, name, d.force)
		switch {
		case begun && messages.IsCode(err, messages.CodeSecretNotFound):
			now, err = messages.SecretDeletion{Name: name, Done: true}, nil // gone between two questions
		case err != nil && begun:
			return d.left(ctx, name, err)
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("interrupted; it is not known whether the deletion of %s has begun; lessor secret get %s tells", name, name)
		case err != nil:
			return err
		}
		if now.Done || d.noWait {
			p.Clear()
			return d.print(env, now)
		}
		p.Show("%s: %s", name, remaining(now))
		if now.Error != "" && now.Error != told { // that it does not get on is worth a line in a pipe, too
			told = now.Error
			p.Clear()
			env.Note("%s: %s; the broker goes on trying", name, remaining(now))
		}
		select {
		case <-ctx.Done():
			return d.left(ctx, name, ctx.Err())
		case <-time.After(deletionPace):
		}
	}
}

// left is the error of a command that stops waiting for a deletion that goes on.
func (d *deleteCmd) left(ctx context.Context, name string, err error) error {
	again := fmt.Sprintf(`the broker goes on deleting %s; "lessor secret delete %s" tells how far it is`, name, name)
	if ctx.Err() != nil {
		return errors.New("stopped waiting; " + again)
	}
	return fmt.Errorf("%w; %s", err, again)
}

// remaining is what is left of a deletion.
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

func (d *deleteCmd) print(env *cli.Environment, now messages.SecretDeletion) error {
	if d.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindDeletion, Deletion: &now})
	}
	text := "is being deleted, " + remaining(now)
	switch {
	case now.Done && now.Leases > 0:
		text = "is deleted; " + remaining(now) + ", which the broker goes on revoking"
	case now.Done:
		text = "is deleted"
	}
	_, err := fmt.Fprintln(env.Stdout, now.Name, cli.OneLine(text))
	return err
}
