package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/messages"
)

// markEvery is how often somebody notes where the event stream stands. What is cut off
// its end since the last note is not missed.
const markEvery = time.Minute

// markEvents notes where the event stream stands, unless another replica has just done
// that.
func (c *Consumer) markEvents(ctx context.Context) {
	if err := c.mark(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn().Err(err).Msg("where the event stream stands could not be noted; trying again")
	}
}

func (c *Consumer) mark(ctx context.Context) error {
	data, revision, err := c.connections.state.get(ctx, messages.AuditMarksKey)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	var marks messages.AuditMarks
	if err == nil {
		if marks, err = messages.DecodeAuditMarks(data); err != nil {
			return err
		}
	}
	// Marks go by the server's clock, which may be far from this broker's.
	now := c.cfg.Now()
	if n := len(marks.Marks); n > 0 && (now.Sub(marks.Marks[n-1].At) < markEvery || now.Sub(c.marked) < markEvery) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Namespace.EventStream())
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	data, err = json.Marshal(c.cfg.Keys.AddMark(marks, info.TimeStamp, info.State.LastSeq))
	if err != nil {
		return err
	}
	_, err = c.connections.state.put(ctx, messages.AuditMarksKey, data, revision, 0)
	if errors.Is(err, errConflict) {
		err = nil // another was faster
	}
	if err == nil {
		c.marked = now
	}
	return err
}

// adminCommand is an endpoint of the admin service.
type adminCommand struct {
	name, subject string
	// changes says that it changes something, so that it is told before and after.
	changes bool
	do      func(context.Context, micro.Request) (messages.Reply, error)
}

// audited does an operator's command and tells of it: who, what, and what came of it.
// One that changes something is told before it is done, too, and is not done if that
// can't be told. Of one that only looks a refusal is told.
func (c *Consumer) audited(ctx context.Context, cmd adminCommand, r micro.Request, by string) (messages.Reply, error) {
	what := describe(r.Data())
	what.Name, what.By = cmd.name, by
	told := cmd.changes && !c.onlyAsks(what)
	id, err := randomToken(c.cfg.Rand)
	if err != nil {
		return messages.Reply{}, err
	}
	if told {
		if err := c.tellCommand(ctx, id, what, messages.OutcomeAsked, nil); err != nil {
			return messages.Reply{}, messages.Errorf(messages.CodeUnavailable,
				"the command could not be written down in the events, and was not carried out").Because(err)
		}
	}
	reply, err := cmd.do(ctx, r)
	outcome, failed := messages.OutcomeDone, (*messages.Error)(nil)
	if err != nil {
		outcome, failed = messages.OutcomeRefused, adminError(err)
	}
	if reply.Secret != nil && cmd.changes {
		what.Revision = reply.Secret.Revision
	}
	if told || failed != nil && (cmd.changes || c.refusals.tell(messages.AdminIdentity, c.cfg.Now())) {
		// Also where the time for the command is over.
		if err := c.tellCommand(c.base, id, what, outcome, failed); err != nil {
			c.log.Error().Err(err).Str("admin", cmd.name).Str("outcome", string(outcome)).Msg("what came of an operator's command could not be told")
		}
	}
	return reply, err
}

// onlyAsks says that a command that changes something asks how far it is: to delete
// what is being deleted.
func (c *Consumer) onlyAsks(what messages.Command) bool {
	return what.Name == endpointDelete && !what.Force && slices.Contains(c.secrets.beingDeleted(), what.Secret)
}

func (c *Consumer) tellCommand(ctx context.Context, id string, what messages.Command, o messages.Outcome, failed *messages.Error) error {
	what.Outcome = o
	by := what.By
	if by == "" {
		by = messages.Unknown
	}
	name := messages.LeaseName{Identity: messages.AdminIdentity, Secret: by, ID: id}
	return c.emit(ctx, name, messages.EventCommand, string(o), messages.EventData{Command: &what, Error: failed})
}

// describe is what a command is about, as far as its body names what can be: it may be
// anything.
func describe(body []byte) messages.Command {
	var b struct {
		Name       string `json:"name"`
		Lease      string `json:"lease"`
		Identity   string `json:"identity"`
		Secret     string `json:"secret"`
		Force      bool   `json:"force"`
		Apply      bool   `json:"apply"`
		NoCheck    bool   `json:"no_check"`
		Definition struct {
			Name string `json:"name"`
		} `json:"definition"`
	}
	_ = json.Unmarshal(body, &b) // what can't be read is refused, and not described
	token := func(values ...string) string {
		for _, v := range values {
			if messages.CheckToken("token", v) == nil {
				return v
			}
		}
		return ""
	}
	c := messages.Command{
		Secret: token(b.Name, b.Definition.Name, b.Secret), Identity: token(b.Identity), Force: b.Force, Apply: b.Apply, NoCheck: b.NoCheck,
	}
	if _, err := messages.ParseLeaseName(b.Lease); err == nil {
		c.Lease = b.Lease
	}
	return c
}
