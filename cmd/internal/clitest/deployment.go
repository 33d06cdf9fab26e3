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
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// Deployment is a world of package lessortest with one broker. Its NATS server can be
// stopped and started at the same address.
type Deployment struct {
	*lessortest.World
	Broker *broker.Broker

	t       testing.TB
	address string   // of the NATS server
	hidden  []string // secret keys of principals
}

// Options change a deployment. The zero value changes nothing.
type Options struct {
	// Configure changes the settings of the consumer.
	Configure func(*consumer.Config)
	// OnCall is called for each attempt of a call to AWS.
	OnCall func(action string, result awsiam.CallResult)
}

// NewDeployment starts a deployment, which ends with the test. The broker waits only
// milliseconds before it retries.
func NewDeployment(t testing.TB, o Options) *Deployment {
	t.Helper()
	w := lessortest.Start(t)
	d := &Deployment{World: w, t: t, address: strings.TrimPrefix(w.NATS.URL(), "nats://"), hidden: []string{w.SecretKey}}
	nc := w.Dial(0, append(broker.ConnOptions(zerolog.Nop()), nats.ReconnectWait(10*time.Millisecond))...)
	b := w.BrokerOn(nc, func(c *consumer.Config) {
		c.Provider = w.Provider(w.KeyID, w.SecretKey, func(a *awsiam.Options) { a.OnCall = o.OnCall })
		c.MinTTL, c.MaintainEvery = 0, 10*time.Millisecond
		if o.Configure != nil {
			o.Configure(c)
		}
	})
	d.Broker = &broker.Broker{Consumer: b.Consumer, Scheduler: b.Scheduler}
	return d
}

// URL returns the URL of the NATS server.
func (d *Deployment) URL() string { return "nats://" + d.address }

// StartNATS starts the NATS server again.
func (d *Deployment) StartNATS() {
	d.World.StartNATS(func(o *embedded.Options) { o.Listen = d.address })
}

// StopNATS stops the NATS server and returns when the broker has noticed.
func (d *Deployment) StopNATS() {
	d.t.Helper()
	d.World.StopNATS()
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

// SecretKeys returns every secret access key of the AWS account: of leases and of
// principals.
func (d *Deployment) SecretKeys() []string { return append(d.Sim.IssuedSecrets(), d.hidden...) }

// Client returns a requester's client.
func (d *Deployment) Client(identity string) *client.Client {
	d.t.Helper()
	c, err := client.New(Connect(d.t, d.URL()), client.Options{Identity: identity})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// Admin returns an operator's client.
func (d *Deployment) Admin() *client.Admin {
	d.t.Helper()
	a, err := client.NewAdmin(Connect(d.t, d.URL()), client.AdminOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}
