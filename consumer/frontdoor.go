package consumer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/messages"
)

// doorVersion is the version of the front door's contract.
const doorVersion = "1.0.0"

// maxKnocks is how many requests the front door of one replica handles at once, and
// maxKnocksOfOne how many of them are one identity's; more are told to come again.
const (
	maxKnocks      = 4096
	maxKnocksOfOne = 256
)

// knock is a plain request at the front door.
type knock struct {
	micro.Request
	verb   string
	tokens []string // of the subject, behind the verb
}

// openDoor offers the front door as a NATS micro service.
func (c *Consumer) openDoor() (micro.Service, error) {
	n := c.cfg.Namespace
	svc, err := micro.AddService(c.cfg.Conn, micro.Config{
		Name: n.Service(), Version: doorVersion, Description: "leases AWS IAM users",
	})
	if err != nil {
		return nil, err
	}
	for _, e := range []struct {
		name, pattern string
		open          func(context.Context, knock) error
	}{
		{"request", n.API("request", "*", "*"), c.doorRequest},
		{"renew", n.API("renew", "*", "*", "*"), c.doorRenew},
		{"revoke", n.API("revoke", "*", "*", "*"), c.doorRevoke},
		{"get", n.API("get", "*", "*", "*"), c.doorGet},
		{"list", n.API("list", "*"), c.doorList},
	} {
		h := micro.HandlerFunc(func(r micro.Request) {
			c.answerDoor(knock{Request: r, verb: e.name, tokens: n.Tokens(r.Subject(), 2)}, e.open)
		})
		if err := svc.AddEndpoint(e.name, h, micro.WithEndpointSubject(e.pattern)); err != nil {
			return svc, err
		}
	}
	return svc, nil
}

// answerDoor handles a request beside the others. A nil error from open means
// that the answer is given, or is another's to give.
func (c *Consumer) answerDoor(k knock, open func(context.Context, knock) error) {
	identity := safeName(k.tokens, "").Identity
	if e := c.places.take(identity); e != nil {
		// That there is no place must cost nothing: no event, no line in the log.
		c.refusals.omit(identity, c.cfg.Now())
		c.answerRefused(k, e)
		return
	}
	entered := c.hall.enter(func() {
		defer c.places.leave(identity)
		ctx, cancel := context.WithTimeout(c.base, frontDoorDeadline)
		defer cancel()
		err := c.checkKnock(k)
		if err == nil {
			err = open(ctx, k)
		}
		if err != nil {
			c.refuseDoor(k, doorError(err))
		}
	})
	if !entered {
		c.places.leave(identity)
		c.turnAway(k, messages.Errorf(messages.CodeUnavailable, "this broker is being stopped; try again"))
	}
}

// doorError is an error as a requester sees it: worth another try where it is NATS that
// did not answer.
func doorError(err error) *messages.Error {
	var own *messages.Error
	if !errors.As(err, &own) && mayPass(err) {
		return messages.Errorf(messages.CodeUnavailable, "NATS did not answer the broker in time; try again").Because(err)
	}
	return messages.AsError(err)
}

// checkKnock makes sure of the tokens and of the answer's subject.
func (c *Consumer) checkKnock(k knock) error {
	if err := checkRequester(k.tokens[0]); err != nil {
		return err
	}
	for i, field := range []string{"identity", "secret", "id"} {
		if i < len(k.tokens) {
			if err := messages.CheckToken(field, k.tokens[i]); err != nil {
				return err
			}
		}
	}
	return c.cfg.Namespace.CheckReply(k.tokens[0], k.Reply())
}

// refuseDoor answers with an error and tells the event.
func (c *Consumer) refuseDoor(k knock, e *messages.Error) {
	switch {
	case e == errNoRoom: // the event would take room, too
	case kindOf(e) == silent: // nor would the event be taken, and the requester has waited for long
		c.refusals.omit(safeName(k.tokens, "").Identity, c.cfg.Now())
	default:
		data := messages.EventData{Verb: messages.Verb(k.verb), Error: e}
		if err := c.tellRefusal(c.base, safeName(k.tokens, "door"), nats.NewInbox(), data); err != nil {
			c.log.Warn().Err(err).Msg("a refusal could not be told")
		}
	}
	c.turnAway(k, e)
}

// turnAway answers with an error, if there is somebody who may be answered.
func (c *Consumer) turnAway(k knock, e *messages.Error) {
	c.cfg.Meter.Handled(messages.Verb(k.verb), string(e.Code), 0)
	c.log.Info().Err(e).AnErr("cause", e.Unwrap()).Str("endpoint", k.verb).Str("subject", clip(k.Subject())).Msg("refused at the front door")
	c.answerRefused(k, e)
}

func (c *Consumer) answerRefused(k knock, e *messages.Error) {
	if len(k.tokens) > 0 && c.cfg.Namespace.CheckReply(k.tokens[0], k.Reply()) == nil {
		c.answer(k, messages.ErrorReply(e, nil))
	}
}

// answer gives the door's own answer.
func (c *Consumer) answer(r micro.Request, reply messages.Reply) {
	err := c.reply(r.Reply(), reply)
	if errors.Is(err, nats.ErrMaxPayload) {
		err = c.reply(r.Reply(), messages.ErrorReply(messages.Errorf(messages.CodeTooLarge, "the answer is larger than a NATS message may be; ask for less"), nil))
	}
	if err != nil {
		c.log.Warn().Err(err).Msg("an answer of the front door could not be sent")
	}
}

// doorRequest puts a request on its stream. The answer is the worker's.
func (c *Consumer) doorRequest(ctx context.Context, k knock) error {
	if _, err := messages.DecodeLeaseRequest(k.Data()); err != nil {
		return err
	}
	key := k.Headers().Get(messages.HeaderIdempotencyKey)
	if err := messages.CheckIdempotencyKey(key); err != nil {
		return err
	}
	if c.reserve.isSpent() {
		return errNoRoom
	}
	if err := c.roomFor(ctx, k, key); err != nil {
		return err
	}
	msg := c.inside(k, c.cfg.Namespace.Request(k.tokens[0], k.tokens[1]))
	msg.Header.Set(messages.HeaderDeadline, c.cfg.Now().Add(frontDoorDeadline).UTC().Format(time.RFC3339))
	if key != "" {
		msg.Header.Set(messages.HeaderIdempotencyKey, key)
	}
	err := c.store(ctx, messages.VerbRequest, msg)
	if isPending(err) {
		return messages.Errorf(messages.CodeUnavailable, "%d requests of %s for %s wait already; ask again in a moment", maxQueued, k.tokens[0], k.tokens[1]).
			After(limitPause).Because(err)
	}
	return err
}

// doorRenew puts a renewal on its stream.
func (c *Consumer) doorRenew(ctx context.Context, k knock) error {
	if _, err := messages.DecodeRenewRequest(k.Data()); err != nil {
		return err
	}
	name := leaseOf(k)
	if err := c.isThere(ctx, name); err != nil {
		return err
	}
	return c.doorOrder(ctx, k, messages.VerbRenew, c.cfg.Namespace.Renew(name))
}

// doorRevoke puts a revocation on its stream.
func (c *Consumer) doorRevoke(ctx context.Context, k knock) error {
	if _, err := messages.DecodeRevokeRequest(k.Data()); err != nil {
		return err
	}
	name := leaseOf(k)
	if err := c.isThere(ctx, name); err != nil {
		return err
	}
	return c.doorOrder(ctx, k, messages.VerbRevoke, c.cfg.Namespace.Revoke(name))
}

// isThere says why an order about a lease need not be stored: it is not there. Most
// requesters know theirs, so mostly the bucket need not be asked, unless it is known to
// be in trouble: then they are told now, and do not wait for an answer.
func (c *Consumer) isThere(ctx context.Context, name messages.LeaseName) error {
	if c.cfg.Known(name) && c.troubles.err() == nil {
		return nil
	}
	_, err := c.get(ctx, name)
	return err
}

// leaseOf is the lease that a knock's subject names.
func leaseOf(k knock) messages.LeaseName {
	return messages.LeaseName{Identity: k.tokens[0], Secret: k.tokens[1], ID: k.tokens[2]}
}

// doorOrder puts a message about a lease that there is on its stream. A stream takes
// one pending message a lease: where there is one already, this one waits until that is
// handled.
func (c *Consumer) doorOrder(ctx context.Context, k knock, v messages.Verb, subject string) error {
	msg := c.inside(k, subject)
	// What is pending may be for this very broker to handle: when it stops, there
	// is nothing to wait for.
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.following, cancel)()
	done, err := c.turns.take(waiting, msg.Subject)
	if err != nil {
		return errPending.Because(err)
	}
	defer done()
	return c.storeWhenFree(ctx, waiting, v, msg)
}

// storeWhenFree stores a message on a stream that takes one pending message a
// subject, when the one before has been handled or waiting ends.
func (c *Consumer) storeWhenFree(ctx, waiting context.Context, v messages.Verb, msg *nats.Msg) error {
	put := c.queues[v].publish
	for wait := minPendingWait; ; wait = min(2*wait, maxPendingWait) {
		err := c.storeBy(ctx, put, msg)
		if !isPending(err) {
			return err
		}
		put = c.queues[v].alone // it may be refused again and again, and take others along
		if pause(waiting, wait) != nil {
			return errPending.Because(err)
		}
	}
}

var errPending = messages.Errorf(messages.CodeUnavailable, "an earlier message about the lease is still being handled; try again")

// Bounds of the wait before a message about a lease is tried again that has one
// pending already. Of those that wait at one replica only the first tries.
const (
	minPendingWait = 2 * time.Millisecond
	maxPendingWait = 100 * time.Millisecond
)

// inside is the message on a stream that stands for a plain request. Of its
// headers only those pass that are named here.
func (c *Consumer) inside(k knock, subject string) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = k.Data()
	msg.Header.Set(messages.HeaderReplyTo, k.Reply())
	if trace := k.Headers().Get(messages.HeaderTrace); trace != "" && len(trace) <= 256 {
		msg.Header.Set(messages.HeaderTrace, trace)
	}
	return msg
}

// store puts a message on its verb's stream.
func (c *Consumer) store(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	return c.storeBy(ctx, c.queues[v].publish, msg)
}

func (c *Consumer) storeBy(ctx context.Context, put func(context.Context, *nats.Msg) (uint64, error), msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := put(ctx, msg)
	if !isPending(err) {
		c.wrote("the streams of the verbs", err)
	}
	if err != nil && !isPending(err) {
		return messages.Errorf(messages.CodeUnavailable, "NATS has not said that it stored the message; it may have, so repeat a request with its %s", messages.HeaderIdempotencyKey).Because(err)
	}
	return err
}

// storeFailed is the code with which JetStream refuses a message for a stream's
// limits (nats-server, errors.json: JSStreamStoreFailedF).
const storeFailed = 10077

// isPending says whether a stream that takes one message a subject has one.
func isPending(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == storeFailed && strings.Contains(api.Description, "per subject")
}

func (c *Consumer) doorGet(ctx context.Context, k knock) error {
	if err := messages.DecodeEmpty(k.Data()); err != nil {
		return err
	}
	answer, err := c.get(ctx, leaseOf(k))
	if err != nil {
		return err
	}
	c.answer(k, answer)
	return nil
}

func (c *Consumer) doorList(ctx context.Context, k knock) error {
	q, err := messages.DecodeListRequest(k.Data())
	if err != nil {
		return err
	}
	answer, err := c.list(ctx, k.tokens[0], q)
	if err != nil {
		return err
	}
	c.answer(k, answer)
	return nil
}

// clip keeps a stranger's subject short in the log.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
