package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// wrote takes down how a write to a stream went, and makes room where there was none.
func (c *Consumer) wrote(stream string, err error) {
	c.troubles.note(writeTo+stream, err)
	if kindOf(err) == full && c.reserve != nil {
		c.reserve.spend()
	}
}

// mayMakeBuckets says whether a lease bucket that is missing may be made: not in an
// installation that had one.
func (c *Consumer) mayMakeBuckets(ctx context.Context) error {
	n := c.cfg.Namespace
	_, err := openBucket(ctx, c.js, n.LeaseBucket())
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // it is there, or what is wrong is found out next
	}
	state, err := openBucket(ctx, c.js, n.StateBucket())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch _, _, err = state.get(ctx, installationKey); {
	case errors.Is(err, errNotFound):
		return nil
	case err != nil:
		return err
	}
	return errNoLeases
}

// lookAfterStreams makes again what somebody has deleted that can be made again, and
// notes what can't. It does so when it misses it for the second time: the server is
// still clearing away the files of what has just been deleted, and would clear away
// those of its successor.
func (c *Consumer) lookAfterStreams() {
	missed := map[string]bool{}
	ctx := c.following
	for pause(ctx, c.cfg.ChoresEvery) == nil {
		if c.cfg.Conn.Status() == nats.CONNECTED { // or nothing is known of them
			missed = c.lookOnce(ctx, missed)
		}
	}
}

// lookOnce returns what it has missed, and makes what was missed before.
func (c *Consumer) lookOnce(ctx context.Context, missed map[string]bool) map[string]bool {
	missedNow, well := map[string]bool{}, true
	look := func(place string, there func() error, restore func() error) error {
		err := there()
		if missing := errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound); missing && restore != nil {
			missedNow[place] = true
			if missed[place] {
				err = restore()
			}
		}
		well = well && err == nil
		c.troubles.note(place, err)
		return err
	}
	for _, want := range c.cfg.streams() {
		var restore func() error
		if !isBucket(want) {
			restore = func() error { return c.restoreStream(ctx, want) }
		}
		if err := look("stream "+want.Name, func() error { return c.lookAt(ctx, want) }, restore); kindOf(err) == silent {
			return missedNow // each of the others would cost as long a wait
		}
	}
	for _, v := range verbs {
		_ = look("consumer "+c.cfg.Namespace.Consumer(v), func() error { return c.lookAtConsumer(ctx, v) }, func() error {
			_, err := c.cfg.ensureConsumer(ctx, c.js, v)
			return err
		})
	}
	if well && c.troubles.hasWrites() {
		c.tryWrite(ctx)
	}
	return missedNow
}

// tryWrite finds out whether writes that failed would succeed now: what failed may
// have been nobody's to repeat.
func (c *Consumer) tryWrite(ctx context.Context) {
	const key = "probe"
	state := c.connections.state
	_, revision, err := state.get(ctx, key)
	if err == nil || errors.Is(err, errNotFound) {
		_, err = state.put(ctx, key, []byte("written to see that it can be"), revision, 0)
	}
	if err == nil || errors.Is(err, errConflict) {
		c.troubles.writesWork()
	}
}

// lookAt says what is wrong with a stream.
func (c *Consumer) lookAt(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, want.Name)
	switch {
	case err == nil && isBucket(want) && !s.CachedInfo().Config.AllowMsgTTL:
		return c.cfg.adjust(ctx, c.js, s.CachedInfo().Config, want) // a person has made it in place of one that was lost
	case err == nil:
		return checkLimits(s.CachedInfo().Config)
	case !errors.Is(err, jetstream.ErrStreamNotFound), !isBucket(want):
		return err
	case want.Name == "KV_"+c.cfg.Namespace.LeaseBucket():
		return errNoLeases
	}
	return fmt.Errorf("restore it from a backup: %w", err)
}

// restoreStream makes a work or event stream that is missing.
func (c *Consumer) restoreStream(ctx context.Context, want jetstream.StreamConfig) error {
	made, err := c.cfg.ensureStream(ctx, c.js, want)
	if made {
		c.log.Warn().Str("stream", want.Name).Msg("a stream was gone, with what was in it, and is made anew; requesters may ask again")
	}
	return err
}

func (c *Consumer) lookAtConsumer(ctx context.Context, v messages.Verb) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := c.js.Consumer(ctx, c.cfg.Namespace.Stream(v), c.cfg.Namespace.Consumer(v))
	return err
}

// renewPulls has the workers pull anew on every new connection.
func (c *Consumer) renewPulls() {
	connected := c.cfg.Conn.StatusChanged(nats.CONNECTED)
	defer c.cfg.Conn.RemoveStatusListener(connected)
	for {
		select {
		case <-c.following.Done():
			return
		case _, ok := <-connected:
			if !ok {
				return // the connection is closed for good
			}
			for _, p := range c.pools {
				p.renew()
			}
		}
	}
}
