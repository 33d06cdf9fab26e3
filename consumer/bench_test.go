package consumer_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// BenchmarkBareCalls makes and removes the same user by the same calls, with no
// broker and no NATS.
func BenchmarkBareCalls(b *testing.B) {
	w := newWorld(b)
	p := awsiam.New(awsiam.Options{Endpoint: w.AWS.URL, Credentials: credentials.NewStaticCredentialsProvider(w.KeyID, w.SecretKey, "")})
	d, err := messages.DecodeDynamicSecret([]byte(lessortest.Secret))
	w.NoError(err)
	account, err := p.Connect(b.Context(), provider.ConnectionOf(d, ""))
	w.NoError(err)
	var n atomic.Int64
	b.SetParallelism(requesters)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			user := record.User{
				Name: fmt.Sprintf("bare-%d", n.Add(1)), Path: d.AWS.Path, Groups: d.AWS.Groups,
				ManagedPolicies: d.AWS.ManagedPolicies, InlinePolicy: []byte(d.AWS.InlinePolicy),
			}
			owner := provider.Owner{Installation: "bare", Lease: "a.b." + user.Name, Attempt: 1}
			c, err := account.Create(b.Context(), provider.Creation{User: user, Owner: owner, DenyAfter: w.Clock.Now()})
			if err != nil {
				panic(err)
			}
			if err := account.Delete(b.Context(), provider.Deletion{User: user, Owner: owner, AccessKeyID: c.AccessKeyID, OwnerKnown: true}); err != nil {
				panic(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
}

// BenchmarkLease issues a lease and revokes it, through the broker, with AWS at
// no latency. BenchmarkBareCalls is its floor.
func BenchmarkLease(b *testing.B) {
	w := newWorld(b)
	w.Put(w.Broker(func(c *consumer.Config) { c.Workers = consumer.Workers{}; c.Streams.AckWait = 0 }), lessortest.Secret)
	b.SetParallelism(requesters)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := w.mustReply(w.Conn.Request("lessor.api.request.alice.ci", nil, lessortest.Patience))
			w.mustReply(w.Conn.Request("lessor.api.revoke."+r.Lease.Name, nil, lessortest.Patience))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
}

// requesters is how many ask at once in the benchmarks.
const requesters = 64
