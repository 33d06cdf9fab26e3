package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// eventTypes are the values of --type.
var eventTypes = []messages.EventType{
	messages.EventIssued, messages.EventConfirmed, messages.EventUndelivered, messages.EventRenewed, messages.EventExpiring,
	messages.EventRevoked, messages.EventFailed, messages.EventRevokeFailed, messages.EventRejected, messages.EventOrphanRemoved, messages.EventCommand,
}

// eventsCmd is the command that reads the event stream.
type eventsCmd struct {
	requester
	since, lease     string
	types            []string
	follow, noFollow bool
}

func newEventsCmd(env *cli.Environment) *cobra.Command {
	var e eventsCmd
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print and follow the events about leases",
		Long: `Print the stored events about leases, one a line, and then new ones. Without --identity
and --lease it prints the events of all identities.

The command reads the event stream itself, so the connection must be allowed to.`,
		Example: `  # new events
  lessor events --since 0s

  # why leases failed in the last day, as JSON
  lessor events --since 1d --type failed --type rejected --no-follow --json`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := e.filter(env)
			if err != nil {
				return err
			}
			return e.run(cmd.Context(), env, filter)
		},
	}
	e.register(cmd)
	cmd.Flags().Lookup("identity").Usage = "only events about the leases of this `identity` [$LESSOR_IDENTITY]"
	cmd.Flags().Lookup("json").Usage = "print the events as they are stored, CloudEvents in JSON"
	cmd.Flags().StringVar(&e.since, "since", "", "`time` (RFC 3339) or age (1h, 7d) of the first event (default: all stored events)")
	cmd.Flags().StringVar(&e.lease, "lease", "", "only events about this lease, `name`d <identity>.<secret>.<id>")
	cmd.Flags().StringArrayVar(&e.types, "type", nil, "only events of this `type`; may be repeated: "+typeNames())
	cmd.Flags().BoolVar(&e.follow, "follow", true, "continue with new events")
	cmd.Flags().BoolVar(&e.noFollow, "no-follow", false, "stop after the last stored event")
	return cmd
}

// typeNames returns the values of --type for help and errors.
func typeNames() string {
	names := make([]string, len(eventTypes))
	for i, t := range eventTypes {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// filter checks the flags and returns the filter.
func (e *eventsCmd) filter(env *cli.Environment) (client.EventFilter, error) {
	f := client.EventFilter{Follow: e.follow && !e.noFollow}
	switch {
	case e.lease != "":
		l, err := messages.ParseLeaseName(e.lease)
		if err != nil {
			return f, cli.FlagError("--lease", err)
		}
		if err := e.asOwner(env, e.lease); err != nil {
			return f, err
		}
		f.Identity, f.Secret, f.ID = l.Identity, l.Secret, l.ID
	case e.identity != "" || env.Getenv("LESSOR_IDENTITY") != "":
		if err := e.asIdentity(env); err != nil {
			return f, err
		}
		f.Identity = e.identity
	default:
		if err := e.Check(env); err != nil {
			return f, err
		}
	}
	for _, name := range e.types {
		t := messages.EventType(name)
		if !slices.Contains(eventTypes, t) {
			return f, cli.Usagef("--type is %q; it may be one of %s", name, typeNames())
		}
		f.Types = append(f.Types, t)
	}
	var err error
	f.Since, err = sinceTime(e.since, env.Now())
	return f, err
}

// sinceTime parses a time, or how long ago it was.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := messages.ParseDuration(s); err == nil {
		return now.Add(-d.Std()), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, cli.Usagef("--since is %q; it must be a time such as 2026-11-22T22:00:00Z, or how long ago, such as 1h or 7d", s)
	}
	if t.After(now) {
		return t, cli.Usagef("--since is %s, which is in the future", s)
	}
	return t, nil
}

// run prints the events that pass the filter.
func (e *eventsCmd) run(ctx context.Context, env *cli.Environment, f client.EventFilter) error {
	js, ns, err := e.Streams(env, "lessor events")
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	show := showEvent
	if e.json {
		show = func(w io.Writer, e messages.Event) error { return json.NewEncoder(w).Encode(e) }
	}
	for event, err := range client.Events(ctx, js, ns, f) {
		if err != nil {
			return err
		}
		if err := show(env.Stdout, event); err != nil {
			return fmt.Errorf("print an event: %w", err)
		}
	}
	return nil
}

// showEvent prints an event on one line: time, type, lease and details.
func showEvent(w io.Writer, e messages.Event) error {
	line := fmt.Sprintf("%s  %-14s  %s", e.Time.UTC().Format(time.RFC3339), e.Type[strings.LastIndexByte(e.Type, '.')+1:], e.Subject)
	for _, d := range []struct{ name, value string }{
		{"reason", string(e.Data.Reason)}, {"note", e.Data.Note}, {"verb", string(e.Data.Verb)},
	} {
		if d.value != "" {
			line += fmt.Sprintf("  %s=%q", d.name, d.value)
		}
	}
	if c := e.Data.Command; c != nil {
		line += commandText(*c)
	}
	if e.Data.Omitted > 0 {
		line += fmt.Sprintf("  and %d more refusals", e.Data.Omitted)
	}
	if e.Data.Error != nil {
		line += fmt.Sprintf("  error=%q", e.Data.Error)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// commandText returns the details of an operator's command.
func commandText(c messages.Command) string {
	line := fmt.Sprintf("  %s %s", c.Name, c.Outcome)
	for _, d := range []struct{ name, value string }{
		{"by", c.By}, {"secret", c.Secret}, {"lease", c.Lease}, {"identity", c.Identity},
	} {
		if d.value != "" {
			line += "  " + d.name + "=" + d.value
		}
	}
	for _, d := range []struct {
		name string
		on   bool
	}{{"force", c.Force}, {"apply", c.Apply}, {"no_check", c.NoCheck}} {
		if d.on {
			line += "  " + d.name
		}
	}
	return line
}
