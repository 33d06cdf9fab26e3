package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Topology is the streams, buckets and durable consumers that lessor needs in
// JetStream.
type Topology struct {
	JS        jetstream.JetStream
	Namespace messages.Namespace
	// Replicas is how many copies JetStream keeps; 0 is 1 for new streams and leaves
	// existing ones as they are.
	Replicas int
	// AtomicPublish allows atomic batches on all streams.
	AtomicPublish bool
	// EventAge is how long events are kept.
	EventAge time.Duration
	// AckWait is that of the durable consumers.
	AckWait time.Duration
}

const (
	// MaxQueued is how many requests of one identity for one secret may wait.
	MaxQueued = 4096
	// maxMessage bounds what a requester can make the streams keep, headers
	// included.
	maxMessage = messages.MaxBody + 16<<10
	// noDuplicates is the shortest duplicate window that NATS takes. Message ids are
	// not used on the verbs' streams: JetStream would drop the repeat, whose sender
	// would wait in vain, and another sender could use up an id.
	noDuplicates = 100 * time.Millisecond
	// eventDuplicates is how long an event that is published twice is stored once.
	eventDuplicates = 2 * time.Minute
	// maxAckPending is unlimited: messages that wait for a retry count, too, and
	// those of one AWS account must not keep all others from being delivered.
	maxAckPending = -1
	// maxWaiting is how many pulls of all replicas may wait.
	maxWaiting = 65_536
	// apiTimeout bounds one question to the JetStream API, which does not answer
	// without a leader.
	apiTimeout = 3 * time.Second
)

// Verbs are the verbs that have a work queue.
var Verbs = []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm}

// streams returns the configuration of every stream, buckets included.
func (t *Topology) streams() []jetstream.StreamConfig {
	n := t.Namespace
	var s []jetstream.StreamConfig
	for _, v := range Verbs {
		s = append(s, t.workQueue(v))
	}
	s = append(s, jetstream.StreamConfig{
		Name:        n.EventStream(),
		Description: "lessor: events",
		Subjects:    []string{n.EventFilter()},
		Storage:     jetstream.FileStorage,
		MaxAge:      t.EventAge,
		Duplicates:  min(eventDuplicates, t.EventAge),
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,

		AllowAtomicPublish: t.AtomicPublish,
	})
	leases := bucketStream(n.LeaseBucket())
	leases.AllowAtomicPublish = t.AtomicPublish
	return append(s, leases, bucketStream(n.SecretBucket()), bucketStream(n.StateBucket()))
}

func (t *Topology) workQueue(v messages.Verb) jetstream.StreamConfig {
	q := jetstream.StreamConfig{
		Name:        t.Namespace.Stream(v),
		Description: "lessor: messages to " + string(v),
		Subjects:    []string{t.Namespace.VerbFilter(v)},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		MaxMsgSize:  maxMessage,
		Duplicates:  noDuplicates,

		AllowAtomicPublish: t.AtomicPublish,
	}
	switch v {
	case messages.VerbRequest: // no identity fills the queue for the others
		q.Discard, q.DiscardNewPerSubject, q.MaxMsgsPerSubject = jetstream.DiscardNew, true, MaxQueued
	case messages.VerbRenew, messages.VerbRevoke: // one pending message a lease, however many schedulers remind
		q.Discard, q.DiscardNewPerSubject, q.MaxMsgsPerSubject = jetstream.DiscardNew, true, 1
	}
	return q
}

// bucketStream is a key-value bucket as nats.go makes it, except that reads go to
// the leader (a follower's answer may be stale), and no message may roll up others
// (one header would empty the bucket).
func bucketStream(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              bucket.StreamName(name),
		Description:       "lessor: bucket " + name,
		Subjects:          []string{"$KV." + name + ".>"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		Duplicates:        noDuplicates,
	}
}

func isBucket(s jetstream.StreamConfig) bool { return strings.HasPrefix(s.Name, bucket.StreamName("")) }

// Ensure makes the streams and buckets that are missing, and changes the settings of
// existing ones that lessor relies on. All other settings (limits, placement,
// replicas unless set) are the operator's.
func (t *Topology) Ensure(ctx context.Context) error {
	for _, want := range t.streams() {
		if _, err := t.ensureStream(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// ensureStream does so for one stream, and reports whether it has made it.
func (t *Topology) ensureStream(ctx context.Context, want jetstream.StreamConfig) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	made, err = t.makeOrAdjust(ctx, want)
	if bucket.ProblemOf(err) == bucket.ProblemDisabled {
		return made, fmt.Errorf("%s: %w", bucket.ProblemDisabled, err)
	}
	if err != nil {
		return made, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return made, nil
}

func (t *Topology) makeOrAdjust(ctx context.Context, want jetstream.StreamConfig) (made bool, err error) {
	s, err := t.JS.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		want.Replicas = max(t.Replicas, 1)
		_, err = t.JS.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err == nil, err
		}
		s, err = t.JS.Stream(ctx, want.Name) // another replica was faster
	}
	if err != nil {
		return false, err
	}
	return false, t.adjust(ctx, s.CachedInfo().Config, want)
}

// adjust gives an existing stream the settings that lessor relies on.
func (t *Topology) adjust(ctx context.Context, have, want jetstream.StreamConfig) error {
	if have.Retention != want.Retention {
		return fmt.Errorf("its retention is %s, lessor needs %s; move its messages away and delete it, or choose another --prefix", have.Retention, want.Retention)
	}
	if err := checkBucketLimits(have); err != nil {
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
	next.DenyDelete, next.DenyPurge = have.DenyDelete || want.DenyDelete, have.DenyPurge || want.DenyPurge // NATS does not take them back
	next.Duplicates = want.Duplicates
	if t.Replicas > 0 {
		next.Replicas = t.Replicas
	}
	if sameSettings(have, next) {
		return nil
	}
	_, err := t.JS.UpdateStream(ctx, next)
	return err
}

// checkBucketLimits returns an error if a bucket has limits at which leases would be
// lost or could not be ended.
func checkBucketLimits(have jetstream.StreamConfig) error {
	switch {
	case !isBucket(have):
		return nil
	case have.MaxAge > 0:
		return fmt.Errorf("its values expire after %s, and with them live leases; remove its max age", have.MaxAge)
	case have.MaxBytes > 0 || have.MaxMsgs > 0:
		return errors.New("its size is limited, and at the limit leases could not be ended; remove its max bytes and max messages, and limit the account")
	}
	return nil
}

func sameSettings(a, b jetstream.StreamConfig) bool {
	return slices.Equal(a.Subjects, b.Subjects) && a.Discard == b.Discard && a.DiscardNewPerSubject == b.DiscardNewPerSubject &&
		a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.AllowMsgTTL == b.AllowMsgTTL && a.AllowDirect == b.AllowDirect && a.AllowAtomicPublish == b.AllowAtomicPublish &&
		a.AllowRollup == b.AllowRollup && a.DenyDelete == b.DenyDelete && a.DenyPurge == b.DenyPurge && a.Duplicates == b.Duplicates && a.Replicas == b.Replicas
}

// EnsureConsumer makes the durable consumer of a verb, or brings it up to date.
func (t *Topology) EnsureConsumer(ctx context.Context, v messages.Verb) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := t.JS.CreateOrUpdateConsumer(ctx, t.Namespace.Stream(v), jetstream.ConsumerConfig{
		Durable:       t.Namespace.Consumer(v),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       t.AckWait,
		MaxDeliver:    -1, // a message that JetStream gives up stays in a work queue and blocks its subject
		MaxAckPending: maxAckPending,
		MaxWaiting:    maxWaiting,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", t.Namespace.Consumer(v), err)
	}
	return cons, nil
}
