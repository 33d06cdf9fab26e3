package bucket

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages/retry"
)

// Bounds of the wait before a watch that failed is begun anew.
const (
	minRewatch = 250 * time.Millisecond
	maxRewatch = 5 * time.Second
)

// defaultCheck is the wait between two looks at a bucket that is watched.
const defaultCheck = 5 * time.Second

// Watcher keeps a copy of a bucket up to date. All its functions are called by the
// goroutine of [Watcher.Run], one at a time; those that are nil are left out.
type Watcher struct {
	Bucket string
	Filter string // of keys; "" is all of them

	// Begin is called before each watch with the state of the bucket's stream. Each
	// watch reports everything that is in the bucket, and then what changes.
	Begin func(*jetstream.StreamInfo)
	// Update is called for each entry.
	Update func(Entry)
	// Loaded is called when the watch has reported what was in the bucket when it
	// began. What it has not reported by then is not in the bucket, unless it is
	// being written.
	Loaded func()
	// Broken is called when a watch has failed. The copy may be out of date until
	// Loaded is called again; the next watch begins after the wait.
	Broken func(err error, wait time.Duration)
	// Check is how often the watcher looks whether the bucket is still the one that it
	// watches; 0 is 5s. Of a bucket that was deleted and made again or restored, NATS
	// would report only some entries: the watch counts as failed and is begun anew.
	Check time.Duration
	// Resync ends the present watch and begins the next at once, each time that
	// something is received from it. It may be nil.
	Resync <-chan struct{}
}

// Run watches until ctx ends.
func (w Watcher) Run(ctx context.Context, js jetstream.JetStream) {
	backoff := retry.Backoff{Min: minRewatch, Max: maxRewatch}
	for ctx.Err() == nil {
		err := w.watch(ctx, js, &backoff)
		if ctx.Err() != nil || err == nil {
			continue
		}
		wait := backoff.Next()
		if w.Broken != nil {
			w.Broken(err, wait)
		}
		_ = retry.Sleep(ctx, wait) // the loop looks at ctx
	}
}

// watch runs one watch. It returns nil if Resync ended it.
func (w Watcher) watch(ctx context.Context, js jetstream.JetStream, backoff *retry.Backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := Open(ctx, js, w.Bucket)
	if err != nil {
		return err
	}
	if w.Begin != nil {
		w.Begin(b.Stream.CachedInfo())
	}
	updates, err := b.subscribe(ctx, cmp.Or(w.Filter, ">"))
	if err != nil {
		return fmt.Errorf("bucket %s: %w", w.Bucket, err)
	}
	check := time.NewTicker(cmp.Or(w.Check, defaultCheck))
	defer check.Stop()
	last := b.Stream.CachedInfo().State.LastSeq // the highest revision that is known of
	for {
		select {
		case <-w.Resync:
			return nil
		default:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.Resync:
			return nil
		case <-check.C:
			if b.wasReplaced(ctx, js, last) {
				return fmt.Errorf("bucket %s: %w", w.Bucket, errReplaced)
			}
		case u := <-updates:
			switch {
			case u.ended:
				return fmt.Errorf("bucket %s: %w", w.Bucket, errEnded)
			case !u.loaded:
				last = max(last, u.Revision)
				w.Update(u.Entry)
			default:
				backoff.Reset()
				if w.Loaded != nil {
					w.Loaded()
				}
			}
		}
	}
}

// wasReplaced reports whether the bucket is certainly not the one that was opened, or
// was restored to a state before the given revision.
func (b *Bucket) wasReplaced(ctx context.Context, js jetstream.JetStream, revision uint64) bool {
	now, err := Open(ctx, js, b.Name)
	if err != nil {
		return false
	}
	info := now.Stream.CachedInfo()
	return !info.Created.Equal(b.Stream.CachedInfo().Created) || info.State.LastSeq < revision
}
