//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// ownKey is a definition with a secret key.
const ownKey = `name: ci
default_ttl: 1h
max_ttl: 24h
tags: {team: "12"}
aws:
  region: eu-central-1
  path: /lessor/ci/
  groups: [deployers]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
  auth: {method: access_key, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: geheim/geheim}
`

// plain is a definition that is leased with the broker's own credentials.
const plain = "name: ci\naws: {path: /lessor/ci/, groups: [deployers]}\n"

// office is a broker in this process at a simulated AWS account, and a terminal
// at which an operator sits. It does not wait as long as a broker between two
// tries, and its NATS server can be taken away.
type office struct {
	terminal
	t       *testing.T
	sim     *iamsim.Sim
	options embedded.Options
	nats    *embedded.Server
	broker  *broker.Broker
	hidden  []string // secret keys of principals
	called  counted  // calls to AWS
}

// counted passes on what is told of calls to AWS, to whoever wants to hear.
type counted struct {
	atomic.Pointer[func(string, awsiam.Came)]
}

func (c *counted) call(action string, came awsiam.Came) {
	if f := c.Load(); f != nil {
		(*f)(action, came)
	}
}

func newOffice(t *testing.T, change ...func(*consumer.Config)) *office {
	t.Helper()
	o := &office{
		t: t, sim: iamsim.New(iamsim.Options{}),
		options: embedded.Options{StoreDir: t.TempDir(), Listen: clitest.FreeAddress(t)},
	}
	o.sim.AddGroup("deployers")
	aws, err := o.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() }) // the account goes with the test
	id, secret := o.principal("broker", "")
	o.startNATS()
	t.Cleanup(func() { o.nats.Close() }) // the last one
	nc, err := nats.Connect(o.nats.URL(), append(broker.ConnOptions(zerolog.Nop()), nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	keys, err := sandbox.newKeys("")
	if err != nil {
		t.Fatal(err)
	}
	cfg := consumer.Config{
		Conn: nc, Keys: keys, ProbeEvery: time.Millisecond, MaintainEvery: 10 * time.Millisecond,
		RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		Provider: awsiam.New(awsiam.Options{Endpoint: aws.URL, Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
			Called: func(action string, came awsiam.Came) { o.called.call(action, came) }}),
	}
	for _, f := range change {
		f(&cfg)
	}
	o.broker, err = broker.Start(t.Context(), cfg, func(context.Context, *consumer.Secrets) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clitest.Patience)
		defer cancel()
		if err := o.broker.Stop(ctx); err != nil {
			t.Errorf("the broker does not stop: %v", err)
		}
	})
	o.terminal = at(o.nats.URL())
	return o
}

func (o *office) startNATS() { o.nats = clitest.StartNATS(o.t, o.options) }

// stopNATS returns when the broker knows.
func (o *office) stopNATS() {
	o.t.Helper()
	o.nats.Close()
	clitest.Eventually(o.t, "the broker knows that NATS is away", func() bool {
		ctx, cancel := context.WithTimeout(o.t.Context(), 100*time.Millisecond)
		defer cancel()
		err := o.broker.Ready(ctx)
		return err != nil && strings.Contains(err.Error(), "NATS: ")
	})
}

// principal makes somebody whom the broker can be, with every right or with those
// of a policy.
func (o *office) principal(name, policy string) (id, secret string) {
	if policy == "" {
		id, secret = o.sim.AddPrincipal(name)
	} else {
		id, secret = o.sim.AddPrincipalWithPolicy(name, policy)
	}
	o.hidden = append(o.hidden, secret)
	return id, secret
}

// allBut is a policy with every right but some.
func allBut(actions string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":[` + actions + `],"Resource":"*"}]}`
}

// withKey is ownKey with a key that there is.
func withKey(id, secret string) string {
	return strings.NewReplacer("AKIAIOSFODNN7EXAMPLE", id, "geheim/geheim", secret).Replace(ownKey)
}

// written is a file with a definition.
func written(t *testing.T, definition string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "definition.yaml")
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// put stores a definition without trying it out.
func (o *office) put(definition string) {
	o.t.Helper()
	o.ok(o.t, "secret", "put", written(o.t, definition), "--no-check")
}

// putFile stores a definition as one that comes from a file.
func (o *office) putFile(definition string) {
	o.t.Helper()
	d, err := secretfile.Parse([]byte(definition))
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.broker.Secrets().Put(o.t.Context(), d, consumer.SourceFile); err != nil {
		o.t.Fatal(err)
	}
}

// lease leases a secret.
func (o *office) lease(secret string) messages.Reply {
	o.t.Helper()
	return o.reply(o.t, "request", secret, "-i", "alice")
}

// refuse has AWS refuse an action from now on.
func (o *office) refuse(action string) {
	o.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: "AWS is\nunwilling"}
		}
		return iamsim.Verdict{}
	})
}

// relent has AWS refuse nothing any more. What the broker would try again in a
// while, the end of these leases, it tries now.
func (o *office) relent(leases ...messages.Reply) {
	o.t.Helper()
	o.sim.SetHook(nil)
	for _, l := range leases {
		o.ok(o.t, "revoke", l.Lease.Name)
	}
}

// gone waits until a definition is gone.
func (o *office) gone(secret string) {
	o.t.Helper()
	clitest.Eventually(o.t, secret+" is gone", func() bool {
		_, stderr, code := o.run(o.t.Context(), "secret", "get", secret)
		return code == cli.ExitFailed && strings.Contains(stderr, "secret_not_found")
	})
}

// just is a moment that has just been.
var just = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \((now|\d+s ago)\)`)

// says runs a command and checks what it prints, and that no secret key is in it.
// Moments that have just been are "just now".
func (o *office) says(code int, stdout, stderr string, args ...string) {
	o.t.Helper()
	out, errs, got := o.run(o.t.Context(), args...)
	out = just.ReplaceAllString(out, "just now")
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
		o.t.Errorf("lessor %s: exit code %d\n%s%s\nwant %d\n%s%s", strings.Join(args, " "), got, out, errs, code, stdout, stderr)
	}
	for _, secret := range append(o.sim.IssuedSecrets(), o.hidden...) {
		if leak.Contains([]byte(out+errs), secret) {
			o.t.Errorf("lessor %s shows a secret key", args)
		}
	}
}
