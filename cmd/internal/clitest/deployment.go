//go:build unix

package clitest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Deployment is a broker in the test's process, a NATS server that can be stopped and
// started, and a simulated AWS account with a group named deployers.
type Deployment struct {
	*sandbox.Sandbox
	// Server is the NATS server.
	Server *embedded.Server

	t       testing.TB
	options embedded.Options
	hidden  []string // secret keys of principals
}

// Options change a deployment. The zero value changes nothing.
type Options struct {
	// Configure changes the settings of the consumer.
	Configure func(*consumer.Config)
	// Called is called for each call to AWS.
	Called func(action string, result awsiam.CallResult)
}

// NewDeployment starts a deployment, which ends with the test. The broker waits only
// milliseconds before it retries.
func NewDeployment(t testing.TB, o Options) *Deployment {
	t.Helper()
	d := &Deployment{t: t, options: embedded.Options{StoreDir: t.TempDir(), Listen: FreeAddress(t)}}
	d.StartNATS()
	t.Cleanup(func() { d.Server.Close() }) // the last one
	var err error
	d.Sandbox, err = sandbox.Start(t.Context(), sandbox.Options{
		Log: zerolog.Nop(), Called: o.Called,
		Connect: func(options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(d.Server.URL(), append(options, nats.ReconnectWait(10*time.Millisecond))...)
		},
		Furnish: func(s *iamsim.Sim) { s.AddGroup("deployers") },
		Prepare: func(context.Context, *consumer.Secrets) error { return nil },
		Configure: func(c *consumer.Config) {
			Quick(c)
			if o.Configure != nil {
				o.Configure(c)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("the broker does not stop: %v", err)
		}
	})
	own, err := d.AWSOptions.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.hidden = append(d.hidden, own.SecretAccessKey)
	return d
}

// Quick makes a broker wait only milliseconds where it would wait seconds or minutes.
func Quick(c *consumer.Config) {
	c.ProbeEvery, c.MaintainEvery = time.Millisecond, 10*time.Millisecond
	c.RetryMin, c.RetryMax = 10*time.Millisecond, 50*time.Millisecond
}

// StartNATS starts the NATS server again.
func (d *Deployment) StartNATS() { d.Server = StartNATS(d.t, d.options) }

// StopNATS stops the NATS server and returns when the broker has noticed.
func (d *Deployment) StopNATS() {
	d.t.Helper()
	d.Server.Close()
	Eventually(d.t, "the broker notices that NATS is away", func() bool {
		ctx, cancel := context.WithTimeout(d.t.Context(), 100*time.Millisecond)
		defer cancel()
		err := d.Broker.Ready(ctx)
		return err != nil && strings.Contains(err.Error(), "NATS: ")
	})
}

// Principal adds a principal to the AWS account, with the rights of a policy; "" is every
// right.
func (d *Deployment) Principal(name, policy string) (id, secret string) {
	if policy == "" {
		id, secret = d.Sim.AddPrincipal(name)
	} else {
		id, secret = d.Sim.AddPrincipalWithPolicy(name, policy)
	}
	d.hidden = append(d.hidden, secret)
	return id, secret
}

// Refuse makes AWS deny an action from now on.
func (d *Deployment) Refuse(action string) {
	d.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: "AWS is\nunwilling"}
		}
		return iamsim.Verdict{}
	})
}

// SecretKeys returns every secret access key of the AWS account: of leases and of
// principals.
func (d *Deployment) SecretKeys() []string { return append(d.Sim.IssuedSecrets(), d.hidden...) }

// Client returns a requester's client.
func (d *Deployment) Client(identity string) *client.Client {
	d.t.Helper()
	c, err := client.New(Connect(d.t, d.Server.URL()), client.Options{Identity: identity})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// Admin returns an operator's client.
func (d *Deployment) Admin() *client.Admin {
	d.t.Helper()
	a, err := client.NewAdmin(Connect(d.t, d.Server.URL()), client.AdminOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}
