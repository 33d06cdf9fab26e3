package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// What the streams and consumers have in common.
const (
	// maxMessage bounds what a requester can make the streams keep, headers
	// included.
	maxMessage = messages.MaxBody + 16<<10
	// noDuplicates is the shortest duplicate window there is. Message ids are
	// not used on the verbs' streams: JetStream would swallow the repeat, whose
	// sender would wait in vain, and an id can be used up by somebody else.
	noDuplicates = 100 * time.Millisecond
	// eventDuplicates is how long an event that is told twice is kept once.
	eventDuplicates = 2 * time.Minute
	// unlimited: a message that waits to be tried again counts, too, and those of
	// one AWS account that is away must not keep all others from being handled.
	// Workers pull only what they can handle.
	maxAckPending = -1
	// maxQueued is how many requests of one identity for one secret may wait.
	maxQueued = 4096
	// maxWaiting is how many workers of all replicas may wait for a message.
	maxWaiting = 65_536
)

var verbs = []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm}

// streams returns every stream that lessor needs, buckets included.
func (c Config) streams() []jetstream.StreamConfig {
	n := c.Namespace
	var s []jetstream.StreamConfig
	for _, v := range verbs {
		q := jetstream.StreamConfig{
			Name:        n.Stream(v),
			Description: "lessor: messages to " + string(v),
			Subjects:    []string{n.VerbFilter(v)},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     jetstream.FileStorage,
			MaxMsgSize:  maxMessage,
			Duplicates:  noDuplicates,

			AllowAtomicPublish: c.GroupCommit > 0,
		}
		if v == messages.VerbRequest {
			// No identity fills the queue for the others.
			q.Discard = jetstream.DiscardNew
			q.DiscardNewPerSubject = true
			q.MaxMsgsPerSubject = maxQueued
		}
		if v == messages.VerbRenew || v == messages.VerbRevoke {
			// One pending message a lease: any number of schedulers and people
			// may ask without a pile-up.
			q.Discard = jetstream.DiscardNew
			q.DiscardNewPerSubject = true
			q.MaxMsgsPerSubject = 1
		}
		s = append(s, q)
	}
	s = append(s, jetstream.StreamConfig{
		Name:        n.EventStream(),
		Description: "lessor: what happened",
		Subjects:    []string{n.EventFilter()},
		Storage:     jetstream.FileStorage,
		MaxAge:      c.EventAge,
		Duplicates:  min(eventDuplicates, c.EventAge),
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,

		AllowAtomicPublish: c.GroupCommit > 0,
	})
	leases := bucketStream(n.LeaseBucket())
	leases.AllowAtomicPublish = c.GroupCommit > 0
	return append(s, leases, bucketStream(n.SecretBucket()), bucketStream(n.StateBucket()))
}

// bucketStream is a KV bucket, as nats.go makes it but for two things: reads go
// to the leader (a follower's answer may be stale), and no message may roll up
// others (one header would empty the bucket).
func bucketStream(bucket string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "KV_" + bucket,
		Description:       "lessor: bucket " + bucket,
		Subjects:          []string{"$KV." + bucket + ".>"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		Duplicates:        noDuplicates,
	}
}

// ensureStreams makes the streams that are missing, and brings those that are
// there to what lessor relies on. What it does not rely on (limits, placement,
// replicas unless asked for) is the operator's.
func (c Config) ensureStreams(ctx context.Context, js jetstream.JetStream) error {
	for _, want := range c.streams() {
		if _, err := c.ensureStream(ctx, js, want); err != nil {
			return err
		}
	}
	return nil
}

// ensureStream does that for one, and says whether it has made it. Where JetStream
// has no leader it gives up soon: there is no answer until somebody asks again.
func (c Config) ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (made bool, err error) {
	made, err = c.makeStream(ctx, js, want)
	if kindOf(err) == disabled {
		return made, fmt.Errorf("%s: %w", disabled, err)
	}
	if err != nil {
		return made, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return made, nil
}

func (c Config) makeStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		want.Replicas = max(c.Replicas, 1)
		_, err = js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err == nil, err
		}
		s, err = js.Stream(ctx, want.Name) // another replica was faster
	}
	if err != nil {
		return false, err
	}
	return false, c.adjust(ctx, js, s.CachedInfo().Config, want)
}

// adjust brings a stream that is there to what lessor relies on.
func (c Config) adjust(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig) error {
	if have.Retention != want.Retention {
		return fmt.Errorf("its retention is %s, lessor needs %s; move its messages away and delete it, or choose another --prefix", have.Retention, want.Retention)
	}
	if err := checkLimits(have); err != nil {
		return err
	}
	next := have
	next.Subjects = want.Subjects
	next.Discard, next.DiscardNewPerSubject = want.Discard, want.DiscardNewPerSubject
	next.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	next.AllowMsgTTL = want.AllowMsgTTL
	next.AllowDirect = want.AllowDirect
	next.AllowRollup = false
	next.AllowAtomicPublish = have.AllowAtomicPublish || want.AllowAtomicPublish                           // another broker may need it
	next.DenyDelete, next.DenyPurge = have.DenyDelete || want.DenyDelete, have.DenyPurge || want.DenyPurge // they can't be taken back
	next.Duplicates = want.Duplicates
	if c.Replicas > 0 {
		next.Replicas = c.Replicas
	}
	if same(have, next) {
		return nil
	}
	_, err := js.UpdateStream(ctx, next)
	return err
}

// checkLimits says which limits of a bucket leases can't live with.
func checkLimits(have jetstream.StreamConfig) error {
	switch {
	case !isBucket(have):
		return nil
	case have.MaxAge > 0:
		return fmt.Errorf("its values go away after %s, and with them leases that are alive; remove its max age", have.MaxAge)
	case have.MaxBytes > 0 || have.MaxMsgs > 0:
		return errors.New("its size is limited, and at the limit leases could not be ended; remove its max bytes and max messages, and limit the account")
	}
	return nil
}

func isBucket(s jetstream.StreamConfig) bool { return strings.HasPrefix(s.Name, "KV_") }

func same(a, b jetstream.StreamConfig) bool {
	return slices.Equal(a.Subjects, b.Subjects) && a.Discard == b.Discard && a.DiscardNewPerSubject == b.DiscardNewPerSubject &&
		a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.AllowMsgTTL == b.AllowMsgTTL && a.AllowDirect == b.AllowDirect && a.AllowAtomicPublish == b.AllowAtomicPublish &&
		a.AllowRollup == b.AllowRollup && a.DenyDelete == b.DenyDelete && a.DenyPurge == b.DenyPurge && a.Duplicates == b.Duplicates && a.Replicas == b.Replicas
}

// ensureConsumer makes the durable consumer of a verb, or brings it up to date.
func (c Config) ensureConsumer(ctx context.Context, js jetstream.JetStream, v messages.Verb) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := js.CreateOrUpdateConsumer(ctx, c.Namespace.Stream(v), jetstream.ConsumerConfig{
		Durable:   c.Namespace.Consumer(v),
		AckPolicy: jetstream.AckExplicitPolicy,
		AckWait:   c.AckWait,
		// Never give up: a message that is given up stays in a work queue for
		// good, and blocks its subject.
		MaxDeliver:    -1,
		MaxAckPending: maxAckPending,
		MaxWaiting:    maxWaiting,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", c.Namespace.Consumer(v), err)
	}
	return cons, nil
}
