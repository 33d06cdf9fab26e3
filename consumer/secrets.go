package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// storedSecret is a definition as it stands in the secret bucket.
//
//	{"v":1,"source":"file","definition":{"name":"ci",…}}
type storedSecret struct {
	Version    int                    `json:"v"`
	Source     string                 `json:"source,omitempty"` // "file": changed through its file only
	Definition messages.DynamicSecret `json:"definition"`
}

const storedSecretVersion = 1

// Secrets keeps the dynamic secrets. A watch keeps a copy in memory, a moment
// old at most; [Secrets.fresh] asks the bucket.
type Secrets struct {
	bucket   *bucket
	provider provider.Provider

	mu    sync.RWMutex
	known map[string]messages.DynamicSecret
}

func newSecrets(b *bucket, p provider.Provider) *Secrets {
	return &Secrets{bucket: b, provider: p, known: map[string]messages.DynamicSecret{}}
}

// Put checks a definition and stores it. It returns false where the bucket has
// that very definition already. The error is a [messages.Error] that names the
// field, or one of NATS.
func (s *Secrets) Put(ctx context.Context, d messages.DynamicSecret, source string) (changed bool, err error) {
	if err := s.provider.Check(d); err != nil {
		return false, err
	}
	data, err := json.Marshal(storedSecret{Version: storedSecretVersion, Source: source, Definition: d})
	if err != nil {
		return false, err
	}
	for {
		have, revision, err := s.bucket.get(ctx, d.Name)
		if err != nil && !errors.Is(err, errNotFound) {
			return false, err
		}
		if err == nil && string(have) == string(data) {
			return false, nil
		}
		_, err = s.bucket.put(ctx, d.Name, data, revision, 0)
		if err == nil {
			s.forget(d.Name) // until the watch tells, or somebody asks
			return true, nil
		}
		if !errors.Is(err, errConflict) {
			return false, err
		}
	}
}

// Names returns the names of all definitions that came from source.
func (s *Secrets) Names(ctx context.Context, source string) ([]string, error) {
	kv, err := s.bucket.js.KeyValue(ctx, s.bucket.name)
	if err != nil {
		return nil, err
	}
	keys, err := kv.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, key := range keys {
		data, _, err := s.bucket.get(ctx, key)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var stored struct {
			Source string `json:"source"`
		}
		if json.Unmarshal(data, &stored) == nil && stored.Source == source {
			names = append(names, key)
		}
	}
	return names, nil
}

// cached returns a definition from memory, or else from the bucket.
func (s *Secrets) cached(ctx context.Context, name string) (messages.DynamicSecret, error) {
	s.mu.RLock()
	d, ok := s.known[name]
	s.mu.RUnlock()
	if ok {
		return d, nil
	}
	return s.fresh(ctx, name)
}

// fresh returns a definition from the bucket's leader. Where there is none the
// error is [messages.CodeSecretNotFound].
func (s *Secrets) fresh(ctx context.Context, name string) (messages.DynamicSecret, error) {
	data, _, err := s.bucket.get(ctx, name)
	if errors.Is(err, errNotFound) {
		return messages.DynamicSecret{}, messages.Errorf(messages.CodeSecretNotFound, "there is no dynamic secret %q", name)
	}
	if err != nil {
		return messages.DynamicSecret{}, err
	}
	return decodeStored(name, data)
}

func decodeStored(name string, data []byte) (messages.DynamicSecret, error) {
	var v struct {
		Version    int             `json:"v"`
		Definition json.RawMessage `json:"definition"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return messages.DynamicSecret{}, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s is damaged; put it again", name).Because(err)
	}
	if v.Version > storedSecretVersion {
		return messages.DynamicSecret{}, fmt.Errorf("the definition of %s is of a newer version, %d", name, v.Version)
	}
	d, err := messages.DecodeDynamicSecret(v.Definition)
	if err != nil {
		return messages.DynamicSecret{}, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s can't be used; put it again", name).Because(err)
	}
	return d, nil
}

func (s *Secrets) learn(name string, d messages.DynamicSecret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = d
}

func (s *Secrets) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

func (s *Secrets) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// watch follows the bucket until ctx ends or the watch breaks. A definition that
// can't be read is not kept: requests for it ask the bucket, and are told.
func (s *Secrets) watch(ctx context.Context, kv jetstream.KeyValue) error {
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer leave(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				continue // all that was there when the watch began
			}
			d, err := decodeStored(e.Key(), e.Value())
			if e.Operation() != jetstream.KeyValuePut || err != nil {
				s.forget(e.Key())
				continue
			}
			s.learn(e.Key(), d)
		}
	}
}

// leave ends a watch. What it still has to tell is read off: nats.go would wait
// for that for good.
func leave(w jetstream.KeyWatcher) {
	_ = w.Stop() // ends with its context anyway
	go func() {
		for range w.Updates() {
		}
	}()
}

// followSecrets keeps the copy of the dynamic secrets up to date for as long as
// the consumer takes new work.
func (c *Consumer) followSecrets() {
	ctx := c.following
	for ctx.Err() == nil {
		kv, err := c.js.KeyValue(ctx, c.cfg.Namespace.SecretBucket())
		if err == nil {
			err = c.secrets.watch(ctx, kv)
		}
		if ctx.Err() != nil {
			return
		}
		// The copy may be out of date from here on: let requests ask the bucket.
		c.secrets.forgetAll()
		c.log.Warn().Err(err).Msg("following the dynamic secrets failed; trying again")
		_ = pause(ctx, rewatch) // ctx is looked at next
	}
}

// rewatch is the wait before a watch that broke is begun anew.
const rewatch = time.Second
