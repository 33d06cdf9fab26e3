package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
	return page(leases, q.Limit)
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
	leases := []messages.Lease{}
	err := c.leases.each(ctx, leaseFilter(identity, q.Secret), func(key string, rec messages.Record, err error) {
		if err != nil {
			c.log.Error().Err(err).Str("lease", key).Msg("a record that can't be read is left out of a list")
			return
		}
		if l := rec.Lease(); key > q.After && wanted(l.State, q.State) {
			leases = append(leases, *l)
		}
	})
	return leases, err
}

// each reads all records whose keys match a filter, once each. One that can't be
// decoded comes with an error.
func (s *leaseStore) each(ctx context.Context, filter string, visit func(key string, rec messages.Record, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := s.js.KeyValue(ctx, s.name)
	if err != nil {
		return err
	}
	w, err := kv.Watch(ctx, filter, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer leave(w)
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				return s.missed(ctx, filter, seen, visit)
			}
			if seen[e.Key()] {
				continue // written again meanwhile
			}
			seen[e.Key()] = true
			rec, err := messages.DecodeRecord(e.Value())
			visit(e.Key(), rec, err)
		}
	}
}

// usedConnections returns the connections that leases name which are not over. A
// record that can't be read may name any, and is an error.
func (s *leaseStore) usedConnections(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	var unread error
	err := s.each(ctx, ">", func(key string, rec messages.Record, err error) {
		if err != nil {
			unread = fmt.Errorf("the record of %s: %w", key, err)
			return
		}
		if !rec.State.Ended() {
			used[rec.Connection] = true
		}
	})
	return used, errors.Join(err, unread)
}

// missed reads the records that a watch has not told of: one that is written
// while the watch begins comes only later.
func (s *leaseStore) missed(ctx context.Context, filter string, seen map[string]bool, visit func(string, messages.Record, error)) error {
	keys, err := s.keys(ctx, filter)
	if err != nil {
		return err
	}
	for _, key := range keys {
		name, err := messages.ParseLeaseName(key)
		if seen[key] || err != nil {
			continue
		}
		data, _, err := s.get(ctx, name.String())
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		rec, err := messages.DecodeRecord(data)
		visit(key, rec, err)
	}
	return nil
}

// wanted says whether a list shows leases in that state: those asked for, or
// else all that are alive.
func wanted(state, asked messages.State) bool {
	if asked == "" {
		return !state.Ended()
	}
	return state == asked
}
