package lease

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// Deliveries hands the keys of active leases to their requesters.
type Deliveries struct {
	Settings
	leases    *store.Leases
	events    *events.Log
	accounts  *connection.Registry
	publisher *publisher
	pending   pendingMessages
	teardown  *Teardown
	lifetime  *queue.Lifetime
	replier   queue.Replier
}

// deliver delivers the credentials of an active lease. creds are those that were just
// made; nil takes them from the record, which gives the same delivery. Credentials that
// the record has sealed for the requester's xkey can't be probed: with ready_within such
// a delivery says that they are not known to be ready.
//
// The event issued comes first: a requester that has the key may end the lease at
// once. The waits for AWS to accept the key and for a responder hold no worker.
func (d *Deliveries) deliver(ctx context.Context, req request, e store.Entry, creds *messages.Credentials) queue.Outcome {
	emit := d.events.EnsureIssued
	if creds != nil {
		emit = d.events.EmitIssued // the stream can't have it
	}
	if err := emit(ctx, e.Record); err != nil {
		return queue.Retry(err)
	}
	if creds == nil && e.XKey == "" {
		contents, err := d.Keys.Open(e.Sealed)
		if err != nil {
			return queue.Retry(err) // another replica may have the key
		}
		creds = &contents.Credentials
	}
	reply := messages.Reply{Kind: messages.KindCredentials, Lease: e.Lease()}
	if e.XKey != "" {
		reply.Sealed = e.Sealed
	} else {
		reply.Credentials = creds
	}
	if e.ReadyWithin == 0 {
		return d.handOver(ctx, req, e, reply)
	}
	return queue.Detach(func(ctx context.Context) queue.Outcome {
		ready := creds != nil && d.waitReady(ctx, req, e, *creds)
		if ctx.Err() != nil {
			return queue.NoAck() // a stop interrupted the wait
		}
		reply.Ready = &ready
		return d.handOver(ctx, req, e, reply)
	})
}

// handOver publishes a delivery and stores that it was made.
func (d *Deliveries) handOver(ctx context.Context, req request, e store.Entry, reply messages.Reply) queue.Outcome {
	responders, err := d.send(ctx, req.replyTo, e, reply)
	switch {
	case err != nil:
		return queue.Retry(err)
	case responders:
		return d.recordDelivery(ctx, req, e, reply)
	}
	return queue.Detach(func(ctx context.Context) queue.Outcome { return d.repeatForResponders(ctx, req, e, reply) })
}

// send publishes a delivery. It returns false if NATS answers "no responders", which it
// learns by the reply subject: every delivery has its confirm subject there, also one
// that needs no confirmation (see [publisher]).
func (d *Deliveries) send(ctx context.Context, to string, e store.Entry, reply messages.Reply) (responders bool, err error) {
	msg, err := queue.ReplyMsg(to, reply)
	if err != nil {
		return false, err
	}
	defer clear(msg.Data) // it may have the credentials in clear
	name := e.Name()
	msg.Reply = d.Namespace.Confirm(name, d.Keys.ConfirmToken(name.String(), e.Attempt))
	return d.publisher.publish(ctx, msg)
}

// repeatForResponders repeats a delivery for a moment, because interest takes time to
// propagate between servers. Then it gives the lease up.
func (d *Deliveries) repeatForResponders(ctx context.Context, req request, e store.Entry, reply messages.Reply) queue.Outcome {
	for wait := d.NoRespondersWait / 16; wait < d.NoRespondersWait; wait *= 2 {
		if err := retry.Sleep(ctx, wait); err != nil {
			return queue.Retry(err)
		}
		responders, err := d.send(ctx, req.replyTo, e, reply)
		if err != nil {
			return queue.Retry(err)
		}
		if responders {
			return d.recordDelivery(ctx, req, e, reply)
		}
	}
	if !req.isOwn(e) {
		req.log.Info().Msg("no responders for the answer to a repeated request")
		return queue.Ack(queue.LabelIssued) // the first request's delivery decides about the lease
	}
	req.log.Info().Msg("no responders for the delivery")
	return d.giveUp(ctx, req, e)
}

// giveUpLate answers a request that waited too long for its delivery, and gives the
// lease up.
func (d *Deliveries) giveUpLate(ctx context.Context, req request, e store.Entry) queue.Outcome {
	why := errLateForDelivery
	if !d.Now().Before(e.ExpiresAt) {
		why = errExpired
	}
	if waits, err := d.pending.confirmation(ctx, e); err != nil {
		return queue.Retry(err)
	} else if waits {
		return queue.RetryIn(d.RetryMin) // it was delivered
	}
	if err := d.replier.Reply(req.replyTo, messages.ErrorReply(why, e.Lease())); err != nil {
		return queue.Retry(err)
	}
	return d.giveUp(ctx, req, e)
}

// giveUp ends a lease whose credentials reached no requester, unless another worker
// has delivered them meanwhile.
func (d *Deliveries) giveUp(ctx context.Context, req request, e store.Entry) queue.Outcome {
	now, err := d.leases.Load(ctx, e.Name())
	if err != nil {
		return queue.Retry(err)
	}
	if now.State != messages.StateActive || now.Attempt != e.Attempt {
		return queue.RetryIn(d.RetryMin / 4) // to be decided by the present record
	}
	if !now.DeliveredAt.IsZero() {
		return queue.Ack(queue.LabelIssued) // a repeat of the request has it
	}
	if waits, err := d.pending.confirmation(ctx, now); err != nil {
		return queue.Retry(err)
	} else if waits {
		return queue.RetryIn(d.RetryMin) // an earlier delivery arrived after all
	}
	next, err := now.End(messages.ReasonUndelivered, "", d.Now(), d.Timing)
	return d.teardown.begin(ctx, ending{redelivered: req.redelivered, label: queue.LabelUndelivered, log: req.log}, now, next, err)
}

// recordDelivery stores that NATS has taken the delivery, and acknowledges the message.
// It retries without end: if the message were redelivered instead, and the requester had
// received the key and left, the lease would end for lack of responders.
//
// If the record can't be written NATS has a problem, and the delivery that it took may
// be lost with a server. So the same delivery is published once more each time.
func (d *Deliveries) recordDelivery(ctx context.Context, req request, e store.Entry, reply messages.Reply) queue.Outcome {
	err := d.save(ctx, req, e)
	if err == nil {
		return queue.Ack(queue.LabelIssued)
	}
	return queue.Detach(func(ctx context.Context) queue.Outcome {
		for wait := (retry.Backoff{Min: d.RetryMin, Max: d.RetryMax}); err != nil; {
			req.log.Warn().Err(err).Msg("delivered, and the record could not be written; trying again")
			// A stop waits for this, but not if there is no bucket to write to.
			pointless := d.lifetime.Running().Err() != nil && bucket.ProblemOf(err) == bucket.ProblemMissing
			if pointless || wait.Sleep(ctx) != nil {
				return queue.NoAck()
			}
			if _, err = d.send(ctx, req.replyTo, e, reply); err == nil {
				err = d.save(ctx, req, e)
			}
		}
		return queue.Ack(queue.LabelIssued)
	})
}

// save writes the delivery into the record, unless a confirmation, an end or another
// attempt was faster.
func (d *Deliveries) save(ctx context.Context, req request, e store.Entry) error {
	for started := e.Attempt; ; {
		if e.State != messages.StateActive || e.Settled() || e.Attempt != started {
			return nil
		}
		// The request may be a repeat: the lease is for its message from now on.
		next, err := e.WithOrigin(req.origin).Deliver(d.Now(), d.Timing)
		if err != nil {
			return err
		}
		_, err = d.leases.Save(ctx, next, e.Revision)
		if !errors.Is(err, bucket.ErrConflict) {
			return err
		}
		if e, err = d.leases.Load(ctx, e.Name()); err != nil {
			return err
		}
	}
}

// readySuccesses is how often in a row AWS must accept a key before it counts as
// ready: its servers do not learn of it at the same moment.
const readySuccesses = 3

// waitReady waits until AWS accepts the new key, and returns false if it does not in
// time. STS accepting the key does not prove that every service does.
func (d *Deliveries) waitReady(ctx context.Context, req request, e store.Entry, creds messages.Credentials) bool {
	readyBy := e.ReadyBy(d.Timing)
	// A repeated delivery may come after that time: it has time for one more series of probes.
	ctx, cancel := context.WithTimeout(ctx, max(readyBy.Sub(d.Now()), readySuccesses*d.ProbeEvery))
	defer cancel()
	account, err := d.accounts.Reach(ctx, e.Connection)
	if err != nil {
		return false
	}
	for row := 0; ; {
		wait := d.ProbeEvery
		if err = account.Probe(ctx, creds); err == nil {
			if row++; row == readySuccesses {
				return true
			}
			wait /= 4
		} else {
			row = 0
		}
		if retry.Sleep(ctx, wait) != nil {
			req.log.Info().Err(err).Dur("waited", e.ReadyWithin.Std()).Msg("AWS does not accept the key yet")
			return false
		}
	}
}
