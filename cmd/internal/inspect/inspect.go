// Package inspect reads the broker's queues and lease records from outside the broker:
// for the benchmark, the soak test and tests.
package inspect

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// Queues are the verbs whose streams are work queues.
var Queues = []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm}

// Queued returns the number of messages in each work queue that has any.
func Queued(ctx context.Context, js jetstream.JetStream, ns messages.Namespace) (map[messages.Verb]uint64, error) {
	queued := map[messages.Verb]uint64{}
	for _, v := range Queues {
		s, err := js.Stream(ctx, ns.Stream(v))
		if err != nil {
			return nil, err
		}
		if n := s.CachedInfo().State.Msgs; n > 0 {
			queued[v] = n
		}
	}
	return queued, nil
}

// Live returns the records of the leases that have not ended. A record that can't be read
// is an error.
func Live(ctx context.Context, js jetstream.JetStream, ns messages.Namespace) ([]record.Record, error) {
	leases, err := bucket.Open(ctx, js, ns.LeaseBucket())
	if err != nil {
		return nil, err
	}
	var live []record.Record
	var unreadable error
	err = leases.Scan(ctx, ">", func(e bucket.Entry) {
		r, err := record.Decode(e.Value)
		switch {
		case err != nil:
			unreadable = err
		case !r.State.Ended():
			live = append(live, r)
		}
	})
	if err == nil {
		err = unreadable
	}
	return live, err
}
