package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// get answers with one lease of an identity.
func (c *Consumer) get(ctx context.Context, name messages.LeaseName) (messages.Reply, error) {
	rec, err := c.leases.load(ctx, name)
	if errors.Is(err, errNotFound) {
		return messages.Reply{}, messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", name)
	}
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindLease, Lease: rec.Lease()}, nil
}

// list answers with a page of an identity's leases, in the order of their names.
func (c *Consumer) list(ctx context.Context, identity string, q messages.ListRequest) (messages.Reply, error) {
	leases, err := c.scan(ctx, identity, q)
	if err != nil {
		return messages.Reply{}, err
	}
	slices.SortFunc(leases, func(a, b messages.Lease) int { return strings.Compare(a.Name, b.Name) })
	n, err := fit(leases, q.Limit)
	if err != nil {
		return messages.Reply{}, err
	}
	answer := messages.Reply{Kind: messages.KindLeases, Leases: leases[:n]}
	if n < len(leases) {
		answer.Next = leases[n-1].Name
	}
	return answer, nil
}

// maxPageBytes bounds a page's size: a NATS message has at most 1 MiB unless the
// server says otherwise.
const maxPageBytes = 512 << 10

// fit is how many of the leases make a page.
func fit(leases []messages.Lease, limit int) (int, error) {
	size := 0
	for n, l := range leases {
		data, err := json.Marshal(l)
		if err != nil {
			return 0, err
		}
		if size += len(data); n == limit || (n > 0 && size > maxPageBytes) {
			return n, nil
		}
	}
	return len(leases), nil
}

// scan reads all leases of an identity that the query asks for and that come
// after its page's start.
func (c *Consumer) scan(ctx context.Context, identity string, q messages.ListRequest) ([]messages.Lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := c.js.KeyValue(ctx, c.cfg.Namespace.LeaseBucket())
	if err != nil {
		return nil, err
	}
	secret := q.Secret
	if secret == "" {
		secret = "*"
	}
	w, err := kv.Watch(ctx, identity+"."+secret+".*", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer leave(w)
	leases, seen := []messages.Lease{}, map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("the watch has ended")
			}
			if e == nil {
				missed, err := c.missed(ctx, identity+"."+secret+".*", q, seen)
				return append(leases, missed...), err
			}
			seen[e.Key()] = true
			if e.Key() <= q.After {
				continue
			}
			rec, err := messages.DecodeRecord(e.Value())
			if err != nil {
				c.log.Error().Err(err).Str("lease", e.Key()).Msg("a record that can't be read is left out of a list")
				continue
			}
			if wanted(rec.State, q.State) {
				leases = append(leases, *rec.Lease())
			}
		}
	}
}

// missed reads the leases that a watch has not told of: a record that is written
// while the watch begins comes only later.
func (c *Consumer) missed(ctx context.Context, keys string, q messages.ListRequest, seen map[string]bool) ([]messages.Lease, error) {
	info, err := c.leases.stream.Info(ctx, jetstream.WithSubjectFilter(c.leases.prefix+keys))
	if err != nil {
		return nil, err
	}
	var leases []messages.Lease
	for subject := range info.State.Subjects {
		key := strings.TrimPrefix(subject, c.leases.prefix)
		name, err := messages.ParseLeaseName(key)
		if seen[key] || key <= q.After || err != nil {
			continue
		}
		rec, err := c.leases.load(ctx, name)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if wanted(rec.State, q.State) {
			leases = append(leases, *rec.Lease())
		}
	}
	return leases, nil
}

// wanted says whether a list shows leases in that state: those asked for, or
// else all that are alive.
func wanted(state, asked messages.State) bool {
	if asked == "" {
		return !state.Ended()
	}
	return state == asked
}
