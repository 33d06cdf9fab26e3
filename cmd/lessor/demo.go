package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/retry"
)

func newDemoCmd(env *cli.Environment) *cobra.Command {
	verbose := false
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show the life of a lease, with everything in one process",
		GroupID: tryouts,
		Long: `Run NATS, a simulated AWS account and a broker in this process, and show the life of
leases: they are issued, used, renewed, revoked, they expire, and they are removed if
they can't be delivered. The demo needs only this program, uses only the loopback
network, and leaves nothing behind. It exits with 0 only if every step succeeds.`,
		Example: "  lessor demo",
		Args:    cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), env, verbose)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the broker's log, too")
	return cmd
}

// demoTimeout bounds the demo.
const demoTimeout = time.Minute

// demo runs the steps of the demo.
type demo struct {
	out   io.Writer
	s     *sandbox.Sandbox
	nc    *nats.Conn // of alice
	js    jetstream.JetStream
	ns    messages.Namespace
	steps int
}

func runDemo(cmdCtx context.Context, env *cli.Environment, verbose bool) error {
	ctx, cancel := context.WithTimeout(cmdCtx, demoTimeout)
	defer cancel()
	log := zerolog.Nop()
	if verbose {
		log = zerolog.New(env.Stderr).With().Timestamp().Logger()
	}
	s, err := sandbox.Start(ctx, sandbox.Options{MinTTL: messages.Duration(time.Second), Log: log})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // the state of what is unfinished is stored, or thrown away
	d := &demo{out: env.Stdout, s: s}
	if d.nc, err = s.NATS.Connect(nats.Name("alice")); err != nil {
		return err
	}
	defer d.nc.Close()
	if d.js, err = jetstream.New(d.nc); err != nil {
		return err
	}
	d.say("A NATS server with JetStream, a broker and a simulated AWS account (IAM and STS at %s) run in this process.", s.AWS.URL)
	if err := d.run(ctx); err != nil {
		if cmdCtx.Err() != nil {
			return fmt.Errorf("the demo was interrupted at step %d", d.steps)
		}
		return fmt.Errorf("the demo failed at step %d: %w", d.steps, err)
	}
	d.say("\nEvery step succeeded. Next: \"go run ./cmd/lessor dev\" keeps all this running, and prints what to try.")
	return nil
}

// run runs all steps.
func (d *demo) run(ctx context.Context) error {
	issued, err := d.issue(ctx)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, messages.Reply) error{d.use, d.renew, d.refuse, d.expire, d.revoke, d.undelivered, d.remains} {
		if err := step(ctx, issued); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format+"\n", args...) // the demo does not fail if its output is closed
}

func (d *demo) step(title string) {
	d.steps++
	d.say("\n%d. %s", d.steps, title)
}

// publish stores a message in a stream, with a reply subject.
func (d *demo) publish(ctx context.Context, subject, body, replyTo string) error {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	msg.Header.Set(messages.HeaderReplyTo, replyTo)
	d.say("   → %s %s", subject, body)
	_, err := d.js.PublishMsg(ctx, msg)
	return err
}

// request publishes a message and shows the reply.
func (d *demo) request(ctx context.Context, subject, body string) (messages.Reply, error) {
	sub, err := d.nc.SubscribeSync(d.nc.NewInbox())
	if err != nil {
		return messages.Reply{}, err
	}
	defer func() { _ = sub.Unsubscribe() }() // goes with the connection
	if err := d.publish(ctx, subject, body, sub.Subject); err != nil {
		return messages.Reply{}, err
	}
	msg, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return messages.Reply{}, fmt.Errorf("no reply: %w", err)
	}
	reply, err := messages.DecodeReply(msg.Data)
	if err != nil {
		return reply, err
	}
	d.show(reply)
	return reply, nil
}

// show prints a reply with its secret key masked.
func (d *demo) show(r messages.Reply) {
	d.say("   ← %s", r.Kind)
	if e := r.Error; e != nil {
		d.say("       %s: %s", e.Code, e.Message)
	}
	if l := r.Lease; l != nil {
		d.say("       lease    %s", l.Name)
		d.say("       state    %s, until %s, with renewals until %s at most", l.State, clock(l.ExpiresAt), clock(l.MaxExpiresAt))
	}
	if c := r.Credentials; c != nil {
		d.say("       user     %s", c.Username)
		d.say("       key      %s, secret %v", c.AccessKeyID, c.SecretAccessKey)
	}
}

func clock(t time.Time) string { return t.Format("15:04:05") }

func (d *demo) issue(ctx context.Context) (messages.Reply, error) {
	d.step("alice publishes a request on a JetStream subject, and gets an access key on her reply subject")
	reply, err := d.request(ctx, d.ns.Request("alice", "demo"), `{"ttl":"5m"}`)
	if err == nil && reply.Kind != messages.KindCredentials {
		err = fmt.Errorf("no credentials came: %s", reply.Kind)
	}
	return reply, err
}

// identity returns the ARN of a key's user, from STS.
func (d *demo) identity(ctx context.Context, c *messages.Credentials) (string, error) {
	out, err := sts.New(sts.Options{
		Region: c.Region, BaseEndpoint: aws.String(d.s.AWS.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), ""),
	}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

func (d *demo) use(ctx context.Context, issued messages.Reply) error {
	d.step("She uses it: STS GetCallerIdentity, with the AWS SDK")
	arn, err := d.identity(ctx, issued.Credentials)
	if err != nil {
		return err
	}
	d.say("   %s", arn)
	if !strings.HasSuffix(arn, issued.Credentials.Username) {
		return fmt.Errorf("that is not the lease's user %s", issued.Credentials.Username)
	}
	return nil
}

func (d *demo) renew(ctx context.Context, issued messages.Reply) error {
	d.step("She renews the lease")
	name, err := messages.ParseLeaseName(issued.Lease.Name)
	if err != nil {
		return err
	}
	reply, err := d.request(ctx, d.ns.Renew(name), `{"ttl":"20m"}`)
	if err != nil {
		return err
	}
	if reply.Kind != messages.KindRenewed || !reply.Lease.ExpiresAt.After(issued.Lease.ExpiresAt) {
		return fmt.Errorf("the end of the lease has not changed: %s", reply.Kind)
	}
	return nil
}

func (d *demo) refuse(ctx context.Context, _ messages.Reply) error {
	d.step("She requests more time than the secret allows, and gets an error")
	reply, err := d.request(ctx, d.ns.Request("alice", "demo"), `{"ttl":"2d"}`)
	if err != nil {
		return err
	}
	if reply.Error == nil || reply.Error.Code != messages.CodeTTLExceedsMax {
		return fmt.Errorf("the request was not refused: %s", reply.Kind)
	}
	return nil
}

func (d *demo) expire(ctx context.Context, _ messages.Reply) error {
	d.step("A lease of three seconds expires")
	reply, err := d.request(ctx, d.ns.Request("alice", "demo"), `{"ttl":"3s"}`)
	if err != nil {
		return err
	}
	if reply.Kind != messages.KindCredentials {
		return fmt.Errorf("no credentials came: %s", reply.Kind)
	}
	if _, err := d.identity(ctx, reply.Credentials); err != nil {
		return fmt.Errorf("the key does not work before the end of the lease: %w", err)
	}
	if err := d.ended(ctx, reply.Lease.Name, messages.ReasonExpired); err != nil {
		return err
	}
	return d.refusedBySTS(ctx, reply.Credentials)
}

func (d *demo) revoke(ctx context.Context, issued messages.Reply) error {
	d.step("She no longer needs the first lease, and revokes it")
	name, err := messages.ParseLeaseName(issued.Lease.Name)
	if err != nil {
		return err
	}
	reply, err := d.request(ctx, d.ns.Revoke(name), `{"reason":"job done"}`)
	if err != nil {
		return err
	}
	if reply.Kind != messages.KindRevoked {
		return fmt.Errorf("the lease was not revoked: %s", reply.Kind)
	}
	return d.refusedBySTS(ctx, issued.Credentials)
}

func (d *demo) undelivered(ctx context.Context, _ messages.Reply) error {
	d.step("A requester disconnects before the reply: the key can't be delivered, and is deleted")
	before, err := d.events(ctx)
	if err != nil {
		return err
	}
	if err := d.publish(ctx, d.ns.Request("bob", "demo"), "{}", d.nc.NewInbox()); err != nil {
		return err
	}
	for {
		all, err := d.events(ctx)
		if err != nil {
			return err
		}
		for _, e := range all[len(before):] {
			if e.Type == "lessor.lease.revoked" && e.Data.Reason == messages.ReasonUndelivered {
				d.say("   lease %s: %s, %s", e.Subject, e.Data.Lease.State, e.Data.Reason)
				return nil
			}
		}
		if err := retry.Sleep(ctx, 100*time.Millisecond); err != nil {
			return errors.New("the lease that was not delivered is not revoked")
		}
	}
}

// remains shows what is left: the events, and no users in AWS.
func (d *demo) remains(ctx context.Context, _ messages.Reply) error {
	d.step("What is left: the events, and no users in AWS")
	all, err := d.events(ctx)
	if err != nil {
		return err
	}
	for _, e := range all {
		d.say("   %s  %-24s %s %s", e.Time.Format("15:04:05.000"), e.Type, e.Subject, e.Data.Reason)
	}
	users := d.s.Sim.Users()
	d.say("   IAM users: %d", len(users))
	if len(users) > 0 {
		return fmt.Errorf("AWS still has %s", users[0].Name)
	}
	if len(all) == 0 {
		return errors.New("there are no events")
	}
	return nil
}

// ended waits for the event about the end of a lease, which must have this reason.
func (d *demo) ended(ctx context.Context, lease string, reason messages.Reason) error {
	for {
		all, err := d.events(ctx)
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.Subject == lease && e.Type == "lessor.lease.revoked" {
				d.say("   %s: revoked, reason: %s", e.Time.Format("15:04:05.000"), e.Data.Reason)
				if e.Data.Reason != reason {
					return fmt.Errorf("the reason is %s", e.Data.Reason)
				}
				return nil
			}
		}
		if err := retry.Sleep(ctx, 100*time.Millisecond); err != nil {
			return errors.New("the lease does not end")
		}
	}
}

// refusedBySTS checks that a key does not work any more.
func (d *demo) refusedBySTS(ctx context.Context, c *messages.Credentials) error {
	_, err := d.identity(ctx, c)
	if err == nil {
		return fmt.Errorf("STS still accepts the key %s", c.AccessKeyID)
	}
	if !strings.Contains(err.Error(), "InvalidClientTokenId") {
		return fmt.Errorf("STS refuses the key with another error: %w", err)
	}
	d.say("   STS refuses the key %s: InvalidClientTokenId", c.AccessKeyID)
	return nil
}

// events returns all stored events.
func (d *demo) events(ctx context.Context) ([]messages.Event, error) {
	var all []messages.Event
	for e, err := range client.Events(ctx, d.js, d.ns, client.EventFilter{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
