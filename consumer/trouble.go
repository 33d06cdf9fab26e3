package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Codes of JetStream's that nats.go has no names for (nats-server, errors.json).
const (
	accountFull  = 10_002 // JSAccountResourcesExceededErr
	noPeers      = 10_005 // JSClusterNoPeersErrF: too few servers are up for the replicas
	notAvailable = 10_008 // JSClusterNotAvailErr: no leader
	notLeader    = 10_009 // JSClusterNotLeaderErr
	serverFull   = 10_023 // JSInsufficientResourcesErr
	noStorage    = 10_047 // JSStorageResourcesExceededErr
	offline      = 10_118 // JSStreamOfflineErr
)

// apiTimeout bounds one question to JetStream. Without a leader there is no answer.
const apiTimeout = 3 * time.Second

// errNoLeases says that the lease bucket is gone. An empty one in its place would
// make the broker forget every user that it has to remove.
var errNoLeases = errors.New("the lease bucket is gone, and with it what the leases are: restore it from a backup, or, if it is lost for good, " +
	"put an empty one in its place (nats kv add); until then no lease is given, and none ended")

// kind is what is wrong with a place, as far as it matters to an operator.
type kind string

// The kinds of trouble, in the words that health and log have for them.
const (
	full     kind = "JetStream has no room left: raise its limit, or delete what is not needed; no new leases until then"
	silent   kind = "JetStream does not answer: a majority of its servers is away, or it can't write to its disk (then it must be started again when there is room)"
	missing  kind = "it is gone"
	disabled kind = "JetStream is not enabled on the NATS server, or not for this account"
	other    kind = "it fails"
)

// kindOf says what an error of JetStream is about. An API error's words may change,
// its code does not.
func kindOf(err error) kind {
	var api *jetstream.APIError
	isAPI := errors.As(err, &api)
	switch {
	case isAPI && slices.Contains([]jetstream.ErrorCode{accountFull, serverFull, noStorage}, api.ErrorCode),
		isAPI && api.ErrorCode == storeFailed && strings.Contains(api.Description, "maximum"):
		return full
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, errNoLeases):
		return missing
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return disabled
	case isAPI && slices.Contains([]jetstream.ErrorCode{noPeers, notAvailable, notLeader, offline}, api.ErrorCode),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return silent
	}
	return other
}

// passes says whether what keeps a broker from starting may pass by itself.
func passes(err error) bool {
	switch kindOf(err) {
	case full, silent, missing:
		return true
	case disabled:
		return false
	}
	return isAway(err)
}

// isAway says whether an error is about a connection that is not there.
func isAway(err error) bool {
	return slices.ContainsFunc([]error{
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrStaleConnection,
	}, func(e error) bool { return errors.Is(err, e) })
}

// isNATS says whether an error is about a NATS or JetStream that is not there, has no
// leader or no room, rather than about what it was asked.
func isNATS(err error) bool { return kindOf(err) != other || isAway(err) }

// mayPass says whether what could not be done because of an error may be done a little
// later, by this broker or, where this one is being stopped, by another.
func mayPass(err error) bool { return isNATS(err) || errors.Is(err, context.Canceled) }

// explain puts an operator's words before an error of JetStream.
func explain(err error) error {
	if k := kindOf(err); k != other && !errors.Is(err, errNoLeases) {
		return fmt.Errorf("%s (%w)", k, err)
	}
	return err
}

// troubles are what keeps a broker from its work, by place. Each is logged when it
// comes, when it changes and when it goes, and told to whoever asks for the health.
type troubles struct {
	log zerolog.Logger

	mu    sync.Mutex
	known map[string]trouble
}

type trouble struct {
	kind kind
	text string
	last time.Time // when it was met
}

// staleTrouble is how long a trouble counts that is not met again: what failed is
// tried again sooner.
const staleTrouble = time.Minute

func newTroubles(log zerolog.Logger) *troubles {
	return &troubles{log: log, known: map[string]trouble{}}
}

// note takes down how it stands with a place; a nil error is well. An error about
// the connection says nothing about the place.
func (t *troubles) note(place string, err error) {
	if err != nil && (errors.Is(err, context.Canceled) || isAway(err)) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, had := t.known[place]
	if err == nil {
		if had {
			delete(t.known, place)
			t.log.Info().Str("where", place).Msg("JetStream works again")
		}
		return
	}
	now := trouble{kind: kindOf(err), text: place + ": " + explain(err).Error(), last: time.Now()}
	t.known[place] = now
	if !had || before.kind != now.kind {
		t.log.Error().Err(explain(err)).Str("where", place).Msg("trouble with JetStream")
	}
}

// writeTo begins the places where writes failed, before the stream's name.
const writeTo = "write to "

// hasWrites says whether writes have failed and have not succeeded since.
func (t *troubles) hasWrites() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for place := range t.known {
		if strings.HasPrefix(place, writeTo) {
			return true
		}
	}
	return false
}

// writesWork forgets that writes have failed.
func (t *troubles) writesWork() {
	t.mu.Lock()
	var places []string
	for place := range t.known {
		if strings.HasPrefix(place, writeTo) {
			places = append(places, place)
		}
	}
	t.mu.Unlock()
	for _, place := range places {
		t.note(place, nil)
	}
}

// err tells all of it, or nil.
func (t *troubles) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for place, tr := range t.known {
		if time.Since(tr.last) > staleTrouble {
			delete(t.known, place)
			continue
		}
		all = append(all, tr.text)
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return errors.New(strings.Join(all, "\n"))
}

// Bounds of the wait before the start is tried again.
const (
	minStartWait = 100 * time.Millisecond
	maxStartWait = 2 * time.Second
)

// insist does what may fail while NATS is not all there, until it is done, fails for
// a reason that does not pass, or ctx ends.
func (c *Consumer) insist(ctx context.Context, do func(context.Context) error) error {
	const place = "start"
	for wait := minStartWait; ; wait = min(2*wait, maxStartWait) {
		err := do(ctx)
		if err == nil {
			c.troubles.note(place, nil)
			return nil
		}
		if ctx.Err() != nil || !passes(err) {
			return err
		}
		c.troubles.note(place, err)
		c.cfg.Waiting(explain(err))
		if pause(ctx, wait) != nil {
			return err
		}
	}
}
