package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// outputs are the formats of --output.
var outputs = map[string]func(io.Writer, client.Issued, time.Time) error{
	"text":               printText,
	"env":                printEnv,
	"json":               printJSON,
	"credential-process": printCredentialProcess,
}

// requestCmd is the command that requests a lease.
type requestCmd struct {
	requester
	ttl, readyWithin messages.Duration
	sealed, confirm  bool
	labels           []string
	key, output      string

	// Made of the flags by prepare.
	body    messages.LeaseRequest
	options []client.RequestOption
	print   func(io.Writer, client.Issued, time.Time) error
}

func newRequestCmd(env *cli.Environment) *cobra.Command {
	var r requestCmd
	cmd := &cobra.Command{
		Use:   "request SECRET",
		Short: "Request a lease and print its access key",
		Long: `Request a lease of a dynamic secret and print its access key.

The key is delivered once. It is deleted when the lease ends, or by "lessor revoke".
The command confirms the delivery; if it is killed before that, the broker revokes
the lease.

The NATS server and credentials are given as to the nats command: by flags,
environment variables, or one of its contexts.`,
		Example: `  # a key for 15 minutes, in the shell's environment
  eval "$(lessor request ci --identity alice --ttl 15m --output env)"

  # sealed in transit, and delivered when AWS accepts the key
  lessor request ci -i alice --sealed --ready-within 20s

  # in ~/.aws/config; each call is a lease of its own, so keep it short
  credential_process = lessor request ci -i alice --ttl 15m --output credential-process`,
		Args: cli.Argument("SECRET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.prepare(env, args[0]); err != nil {
				return err
			}
			return r.run(cmd.Context(), env, args[0])
		},
	}
	r.register(cmd)
	durationFlag(cmd, &r.ttl, "ttl", "how long the lease lasts, such as 90s, 15m, 1h, 7d (default: the secret's)")
	durationFlag(cmd, &r.readyWithin, "ready-within", "wait up to this long for AWS to accept the key, at most "+messages.MaxReadyWithin.String())
	cmd.Flags().BoolVar(&r.sealed, "sealed", false, "seal the key, so that only this command can read it")
	cmd.Flags().BoolVar(&r.confirm, "confirm", true, "confirm the delivery")
	cmd.Flags().StringArrayVar(&r.labels, "label", nil, "`key=value` to keep with the lease; may be repeated")
	cmd.Flags().StringVar(&r.key, "idempotency-key", "", "`key` with which the command can be repeated and still gets one lease")
	cmd.Flags().StringVarP(&r.output, "output", "o", "text", "text, env, json or credential-process")
	return cmd
}

// prepare checks the flags before the command connects.
func (r *requestCmd) prepare(env *cli.Environment, secret string) error {
	if err := r.asIdentity(env); err != nil {
		return err
	}
	if err := cli.CheckToken("SECRET", secret); err != nil {
		return err
	}
	if r.json && r.output != "text" && r.output != "json" {
		return cli.Usagef("--json and --output %s exclude each other", r.output)
	}
	if r.json {
		r.output = "json"
	}
	if r.print = outputs[r.output]; r.print == nil {
		return cli.Usagef("--output is %q; it may be text, env, json or credential-process", r.output)
	}
	if r.readyWithin > messages.MaxReadyWithin {
		return cli.Usagef("--ready-within is %s; the limit is %s", r.readyWithin, messages.MaxReadyWithin)
	}
	if err := messages.CheckIdempotencyKey(r.key); err != nil {
		return cli.FlagError("--idempotency-key", err)
	}
	labels, err := parseLabels(r.labels)
	if err != nil {
		return err
	}
	r.body = messages.LeaseRequest{TTL: r.ttl, Confirm: r.confirm, ReadyWithin: r.readyWithin, Labels: labels}
	r.options = []client.RequestOption{client.IdempotencyKey(r.key)}
	if r.sealed {
		r.options = append(r.options, client.Sealed())
	}
	return nil
}

// parseLabels parses key=value pairs. It has the limits of the broker.
func parseLabels(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(pairs))
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			return nil, cli.Usagef("--label %q is not of the form key=value", p)
		}
		if _, twice := labels[k]; twice {
			return nil, cli.Usagef("--label %s is given twice", k)
		}
		labels[k] = v
	}
	body, err := json.Marshal(messages.LeaseRequest{Labels: labels})
	if err != nil {
		return nil, cli.FlagError("--label", err)
	}
	if _, err := messages.DecodeLeaseRequest(body); err != nil {
		return nil, cli.FlagError("--label", err)
	}
	return labels, nil
}

// run requests the lease and prints it. If it can't be printed, run revokes it.
func (r *requestCmd) run(ctx context.Context, env *cli.Environment, secret string) error {
	c, closeClient, err := r.client(env)
	if err != nil {
		return err
	}
	defer closeClient()
	issued, err := c.Request(ctx, secret, r.body, r.options...)
	if err != nil {
		return err
	}
	if err := r.print(env.Stdout, issued, env.Now()); err != nil {
		// Nothing can use the key: revoke it.
		if _, revokeErr := c.Revoke(context.WithoutCancel(ctx), issued.Lease.Name, "could not be printed"); revokeErr != nil {
			return fmt.Errorf("print the key: %w; the lease %s could not be revoked either: %w", err, issued.Lease.Name, revokeErr)
		}
		return fmt.Errorf("print the key: %w; the lease %s was revoked", err, issued.Lease.Name)
	}
	if issued.Ready != nil && !*issued.Ready {
		env.Note("AWS did not accept the key within %s; it may do so in a few seconds", r.readyWithin)
	}
	if r.output == "text" {
		env.Note("revoke it with: lessor revoke %s", issued.Lease.Name)
	}
	return nil
}

// printText prints a table.
func printText(w io.Writer, i client.Issued, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	cli.Row(t, "lease", i.Lease.Name)
	cli.Row(t, "access key id", i.Credentials.AccessKeyID)
	cli.Row(t, "secret access key", i.Credentials.SecretAccessKey.Reveal())
	cli.Row(t, "session token", i.Credentials.SessionToken.Reveal())
	cli.Row(t, "region", i.Credentials.Region)
	cli.Row(t, "user", i.Credentials.Username)
	cli.Row(t, "expires", cli.Until(i.Lease.ExpiresAt, now))
	return t.Flush()
}

// printEnv prints commands for a shell. The session token of other credentials is unset,
// since AWS would refuse these with it.
func printEnv(w io.Writer, i client.Issued, _ time.Time) error {
	lines := []string{
		"export AWS_ACCESS_KEY_ID=" + quote(i.Credentials.AccessKeyID),
		"export AWS_SECRET_ACCESS_KEY=" + quote(i.Credentials.SecretAccessKey.Reveal()),
		"unset AWS_SESSION_TOKEN",
	}
	if !i.Credentials.SessionToken.IsZero() {
		lines[2] = "export AWS_SESSION_TOKEN=" + quote(i.Credentials.SessionToken.Reveal())
	}
	if i.Credentials.Region != "" {
		lines = append(lines, "export AWS_REGION="+quote(i.Credentials.Region))
	}
	lines = append(lines, "export LESSOR_LEASE="+quote(i.Lease.Name))
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// quote quotes a value for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// printJSON prints the delivery as on the wire; a sealed one is opened.
func printJSON(w io.Writer, i client.Issued, _ time.Time) error {
	return cli.WriteReply(w, messages.Reply{Kind: messages.KindCredentials, Lease: &i.Lease, Credentials: &i.Credentials, Ready: i.Ready})
}

// printCredentialProcess prints the JSON that the AWS SDKs read from a credential_process
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html).
func printCredentialProcess(w io.Writer, i client.Issued, _ time.Time) error {
	return json.NewEncoder(w).Encode(struct { // #nosec G117 -- it gives the SDK the credentials
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string `json:",omitempty"`
		Expiration      time.Time
	}{1, i.Credentials.AccessKeyID, i.Credentials.SecretAccessKey.Reveal(), i.Credentials.SessionToken.Reveal(), i.Lease.ExpiresAt.UTC()})
}
