package consumer

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
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
		data, err := json.Marshal(l) // #nosec G117 -- the name of a dynamic secret
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
	err := c.leases.listed(q.State)(ctx, leaseFilter(identity, q.Secret), func(key string, rec held, err error) {
		if err != nil {
			return // operators are told
		}
		if l := rec.Lease(); key > q.After && wanted(l.State, q.State) {
			leases = append(leases, *l)
		}
	})
	return leases, err
}

// each reads all records whose keys match a filter, once each. One that can't be
// read comes with the error of [readRecord].
func (s *leaseStore) each(ctx context.Context, filter string, visit func(key string, rec held, err error)) error {
	return s.walk(ctx, filter, func(key string, value []byte, revision uint64) {
		rec, err := readRecord(key, value, revision)
		visit(key, held{Record: rec, revision: revision}, err)
	})
}

// eachLive is each but for leases that are over: of a day's leases those are most, and
// they are only glanced at.
func (s *leaseStore) eachLive(ctx context.Context, filter string, visit func(key string, rec held, err error)) error {
	return s.walk(ctx, filter, func(key string, value []byte, revision uint64) {
		if g, err := record.Summarize(key, nil, value); err == nil && g.State.Ended() {
			return
		}
		rec, err := readRecord(key, value, revision)
		visit(key, held{Record: rec, revision: revision}, err)
	})
}

// listed is each, as far as a list of leases in that state needs it ([wanted]).
func (s *leaseStore) listed(state messages.State) func(context.Context, string, func(string, held, error)) error {
	if state == "" {
		return s.eachLive
	}
	return s.each
}

// walk reads all values whose keys match a filter, once each.
func (s *leaseStore) walk(ctx context.Context, filter string, visit func(key string, value []byte, revision uint64)) error {
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
			visit(e.Key(), e.Value(), e.Revision())
		}
	}
}

// usedConnections says which connections leases name that are not over. A record of
// which not even that can be read may name any.
func (s *leaseStore) usedConnections(ctx context.Context) (used func(name string) bool, err error) {
	names, any := map[string]bool{}, false
	err = s.eachLive(ctx, ">", func(_ string, rec held, err error) {
		var bad *unreadable
		if !errors.As(err, &bad) {
			names[rec.Connection] = true
			return
		}
		names[bad.remains.Connection] = true
		any = any || bad.remains.Connection == ""
	})
	return func(name string) bool { return any || names[name] }, err
}

// missed reads what a watch has not told of: a record that is written while the watch
// begins comes only later.
func (s *leaseStore) missed(ctx context.Context, filter string, seen map[string]bool, visit func(string, []byte, uint64)) error {
	keys, err := s.keys(ctx, filter)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if seen[key] {
			continue
		}
		data, revision, err := s.get(ctx, key)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		visit(key, data, revision)
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
