package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/username"
)

// storedSecret is a definition as it stands in the secret bucket.
//
//	{"v":1,"source":"file","definition":{"name":"ci",…}}
type storedSecret struct {
	Version int `json:"v"`
	// Source is [SourceFile] where the definition is changed through its file only.
	Source string `json:"source,omitempty"`
	// Deleting says that it gives no leases any more, and goes when its last lease
	// has gone.
	Deleting bool `json:"deleting,omitempty"`
	// Definition has no secret key: that is kept with the connection.
	Definition messages.DynamicSecret `json:"definition"`
}

const storedSecretVersion = 1

// SourceFile marks definitions that come from files.
const SourceFile = "file"

// Secrets keeps the dynamic secrets. A watch keeps a copy in memory, a moment
// old at most; [Secrets.fresh] asks the bucket.
type Secrets struct {
	bucket      *bucket
	provider    provider.Provider
	connections *connections
	projectID   string
	minTTL      messages.Duration

	reads sharing // of definitions, from the bucket

	mu       sync.RWMutex
	known    map[string]recipe
	deleting map[string]bool
}

// recipe is a definition in use.
type recipe struct {
	messages.DynamicSecret
	stored []byte // what it was read from
	// names makes its user names; the error is about its template.
	names func() (*username.Template, error)
}

func newRecipe(d messages.DynamicSecret, stored []byte) recipe {
	return recipe{d, stored, sync.OnceValues(func() (*username.Template, error) { return username.Parse(d.UsernameTemplate) })}
}

func newSecrets(b *bucket, connections *connections, cfg Config) *Secrets {
	return &Secrets{
		bucket: b, provider: cfg.Provider, connections: connections, projectID: cfg.ProjectID, minTTL: cfg.MinTTL,
		known: map[string]recipe{}, deleting: map[string]bool{},
	}
}

// Put checks a definition, without a call to AWS, and stores it. It returns false
// where the bucket has that very definition already. The error is a
// [messages.Error] that names the field, or one of NATS.
func (s *Secrets) Put(ctx context.Context, d messages.DynamicSecret, source string) (changed bool, err error) {
	return s.put(ctx, d, source, nil)
}

// check is what can be told without a call.
func (s *Secrets) check(d messages.DynamicSecret) error {
	if err := s.provider.Check(d); err != nil {
		return err
	}
	if d.DefaultTTL < s.minTTL {
		return messages.Errorf(messages.CodeInvalidSecret, "default_ttl is %s, and this broker's shortest lease is %s (--min-ttl)", d.DefaultTTL, s.minTTL)
	}
	return nil
}

// put is Put by compare-and-set: where revision is not nil the definition must be
// at that one; 0: there must be none.
func (s *Secrets) put(ctx context.Context, d messages.DynamicSecret, source string, revision *uint64) (changed bool, err error) {
	if err := s.check(d); err != nil {
		return false, err
	}
	conn := provider.ConnectionOf(d, s.projectID)
	d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	data, err := json.Marshal(storedSecret{Version: storedSecretVersion, Source: source, Definition: d})
	if err != nil {
		return false, err
	}
	for {
		have, stored, at, err := s.load(ctx, d.Name)
		if err != nil && !errors.Is(err, errNotFound) {
			return false, err
		}
		if err := mayPut(d.Name, have, stored, source, revision, at); err != nil {
			return false, err
		}
		rekeyed, err := s.connections.ensure(ctx, conn)
		if err != nil {
			return false, err
		}
		if changed = changed || rekeyed; string(have) == string(data) {
			return changed, nil
		}
		_, err = s.bucket.put(ctx, d.Name, data, at, 0)
		if err == nil {
			s.forget(d.Name) // until the watch tells, or somebody asks
			return true, nil
		}
		if !errors.Is(err, errConflict) {
			return false, err
		}
	}
}

// couldPut says why put would refuse a definition that is checked, and keeps its
// connection. What put would store anyway is not made worse by that: a secret key that
// does not work takes no other's place.
func (s *Secrets) couldPut(ctx context.Context, d messages.DynamicSecret, revision *uint64) error {
	have, stored, at, err := s.load(ctx, d.Name)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	if err := mayPut(d.Name, have, stored, "", revision, at); err != nil {
		return err
	}
	conn := provider.ConnectionOf(d, s.projectID)
	if err := s.connections.vet(ctx, conn); err != nil {
		return err
	}
	_, err = s.connections.ensure(ctx, conn)
	return err
}

// mayPut says why a definition may not be put over what there is; have is nil where
// there is nothing.
func mayPut(name string, have []byte, stored storedSecret, source string, revision *uint64, at uint64) error {
	is := at
	if have == nil {
		is = 0 // what there was is deleted
	}
	switch {
	case stored.Deleting:
		return messages.Errorf(messages.CodeSecretDeleting, "%s is being deleted; put it again when it is gone", name)
	case stored.Source == SourceFile && source != SourceFile:
		return messages.Errorf(messages.CodeSecretFromFile, "%s comes from a file in the broker's --secrets folder; change it there", name)
	case revision != nil && *revision != is && is == 0:
		return messages.Errorf(messages.CodeRevisionMismatch, "there is no dynamic secret %q, and revision %d was expected", name, *revision)
	case revision != nil && *revision != is && *revision == 0:
		return messages.Errorf(messages.CodeRevisionMismatch, "%s is there already, at revision %d, and revision 0 is for what is new", name, is)
	case revision != nil && *revision != is:
		return messages.Errorf(messages.CodeRevisionMismatch, "%s is at revision %d, and %d was expected: somebody has changed it", name, is, *revision)
	}
	return nil
}

// load reads what stands in the bucket. A definition that can't be read any more is
// no error: it may be put again, and deleted.
func (s *Secrets) load(ctx context.Context, name string) (data []byte, stored storedSecret, revision uint64, err error) {
	data, revision, err = s.bucket.get(ctx, name)
	if err != nil {
		return nil, stored, revision, err
	}
	stored, err = openStored(name, data)
	if messages.IsCode(err, messages.CodeInvalidSecret) {
		stored.Definition.Name, err = name, nil
	}
	return data, stored, revision, err
}

// openStored reads what stands in the bucket. Where the error is that the
// definition can't be used, the rest is there.
func openStored(name string, data []byte) (storedSecret, error) {
	var v struct {
		Version    int             `json:"v"`
		Source     string          `json:"source"`
		Deleting   bool            `json:"deleting"`
		Definition json.RawMessage `json:"definition"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return storedSecret{}, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s is damaged; put it again", name).Because(err)
	}
	if v.Version > storedSecretVersion {
		return storedSecret{}, messages.Errorf(messages.CodeInternal, "the definition of %s is of a newer version, %d; run a newer lessor", name, v.Version).Because(errNewerSecret)
	}
	stored := storedSecret{Version: v.Version, Source: v.Source, Deleting: v.Deleting}
	var err error
	if stored.Definition, err = messages.DecodeStoredSecret(v.Definition); err == nil && stored.Definition.Name != name {
		err = errors.New("it is another's")
	}
	if err != nil {
		stored.Definition = messages.DynamicSecret{}
		return stored, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s can't be used; put it again", name).Because(err)
	}
	return stored, nil
}

// errNewerSecret is the cause where a newer broker has put a definition. It is set
// aside: not used, not changed, not deleted.
var errNewerSecret = errors.New("a newer broker's definition")

// Release says that a definition has no file any more: it may be changed and deleted
// as any other from now on.
func (s *Secrets) Release(ctx context.Context, name string) error {
	for {
		data, stored, revision, err := s.load(ctx, name)
		if errors.Is(err, errNotFound) {
			return nil
		}
		if err != nil || stored.Source != SourceFile {
			return err
		}
		if err = s.amend(ctx, name, data, revision, func(v map[string]json.RawMessage) { delete(v, "source") }); !errors.Is(err, errConflict) {
			return err
		}
	}
}

// amend changes what stands around a definition, and leaves that itself as it is.
func (s *Secrets) amend(ctx context.Context, name string, data []byte, revision uint64, f func(map[string]json.RawMessage)) error {
	v := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &v); err != nil || v == nil {
		v = map[string]json.RawMessage{"v": json.RawMessage("1"), "definition": json.RawMessage("{}")}
	}
	f(v)
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.bucket.put(ctx, name, data, revision, 0)
	s.forget(name)
	return err
}

// Names returns the names of all definitions that came from source.
func (s *Secrets) Names(ctx context.Context, source string) ([]string, error) {
	keys, err := s.bucket.keys(ctx, "*")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, key := range keys {
		_, stored, _, err := s.load(ctx, key)
		if errors.Is(err, errNotFound) || errors.Is(err, errNewerSecret) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if stored.Source == source {
			names = append(names, key)
		}
	}
	return names, nil
}

// info is a dynamic secret as operators see it.
func (s *Secrets) info(ctx context.Context, name string) (messages.SecretInfo, error) {
	_, stored, revision, err := s.load(ctx, name)
	if errors.Is(err, errNotFound) {
		return messages.SecretInfo{}, errNoSecret(name)
	}
	if err != nil {
		return messages.SecretInfo{}, err
	}
	i := messages.SecretInfo{Name: name, Revision: revision, State: messages.SecretActive, Source: stored.Source, Definition: stored.Definition,
		Installation: s.connections.installation}
	if stored.Deleting {
		i.State = messages.SecretDeleting
	}
	if stored.Definition.AWS.Region == "" {
		i.Notes = []string{"the stored definition can't be read; put it again"}
		return i, nil
	}
	i.Notes = s.provider.Notes(stored.Definition)
	i.Connection, err = s.connections.info(ctx, provider.ConnectionOf(stored.Definition, s.projectID).Name)
	if errors.Is(err, errUnreadableConnection) {
		i.Notes, err = append(i.Notes, "the stored connection can't be read: no lease can be made or undone"), nil
	}
	return i, err
}

// all are all dynamic secrets, in the order of their names.
func (s *Secrets) all(ctx context.Context) ([]messages.SecretInfo, error) {
	keys, err := s.bucket.keys(ctx, "*")
	if err != nil {
		return nil, err
	}
	infos := []messages.SecretInfo{}
	for _, key := range keys {
		i, err := s.info(ctx, key)
		if messages.IsCode(err, messages.CodeSecretNotFound) {
			continue
		}
		if errors.Is(err, errNewerSecret) {
			i = messages.SecretInfo{Name: key, State: messages.SecretActive, Installation: s.connections.installation,
				Definition: messages.DynamicSecret{Name: key}, Notes: []string{err.Error()}}
			err = nil
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, i)
	}
	return infos, nil
}

func errNoSecret(name string) error {
	return messages.Errorf(messages.CodeSecretNotFound, "there is no dynamic secret %q", name)
}

// cached returns a definition from memory, or else from the bucket.
func (s *Secrets) cached(ctx context.Context, name string) (recipe, error) {
	if d, ok := s.inMemory(name); ok {
		return d, nil
	}
	return s.fresh(ctx, name)
}

func (s *Secrets) inMemory(name string) (recipe, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok := s.known[name]
	return d, ok
}

// fresh returns a definition from the bucket's leader, as it stood at some moment after
// the call. Where there is none the error is [messages.CodeSecretNotFound]. Each request
// asks, so requests share their reads, and what has not changed is not read anew.
func (s *Secrets) fresh(ctx context.Context, name string) (recipe, error) {
	value, err := s.reads.do(ctx, name, func(ctx context.Context) (any, error) {
		data, _, err := s.bucket.get(ctx, name)
		return data, err
	})
	if errors.Is(err, errNotFound) {
		return recipe{}, errNoSecret(name)
	}
	if err != nil {
		return recipe{}, err
	}
	data, _ := value.([]byte)
	if d, ok := s.inMemory(name); ok && bytes.Equal(d.stored, data) {
		return d, nil
	}
	return decodeStored(name, data)
}

// decodeStored reads a definition that gives leases.
func decodeStored(name string, data []byte) (recipe, error) {
	stored, err := openStored(name, data)
	if stored.Deleting {
		err = messages.Errorf(messages.CodeSecretDeleting, "%s is being deleted", name)
	}
	if err != nil {
		return recipe{}, err
	}
	return newRecipe(stored.Definition, data), nil
}

func (s *Secrets) learn(name string, d recipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = d
}

func (s *Secrets) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

// mark notes whether a dynamic secret is being deleted.
func (s *Secrets) mark(name string, deleting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if deleting {
		s.deleting[name] = true
	} else {
		delete(s.deleting, name)
	}
}

// beingDeleted are the dynamic secrets that are being deleted, as far as the watch
// has told.
func (s *Secrets) beingDeleted() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.deleting))
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
	return eachUpdate(ctx, w, func(e jetstream.KeyValueEntry) {
		d, err := decodeStored(e.Key(), e.Value())
		s.mark(e.Key(), messages.IsCode(err, messages.CodeSecretDeleting) && e.Operation() == jetstream.KeyValuePut)
		if e.Operation() != jetstream.KeyValuePut || err != nil {
			s.forget(e.Key())
			return
		}
		s.learn(e.Key(), d)
	})
}

// eachUpdate visits what a watch tells until ctx ends or the watch breaks, and leaves
// it.
func eachUpdate(ctx context.Context, w jetstream.KeyWatcher, visit func(jetstream.KeyValueEntry)) error {
	defer leave(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e != nil { // nil: that was all that was there when the watch began
				visit(e)
			}
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

// follow keeps copies of what is in a bucket up to date for as long as the consumer
// takes new work. When the watch breaks the copies may be out of date from there on.
func (c *Consumer) follow(bucket string, watch func(context.Context, jetstream.KeyValue) error, broken func()) {
	ctx := c.following
	level := zerolog.WarnLevel
	for ctx.Err() == nil {
		kv, err := c.js.KeyValue(ctx, bucket)
		if err == nil {
			level = zerolog.WarnLevel
			err = watch(ctx, kv)
		}
		if ctx.Err() != nil {
			return
		}
		broken()
		c.log.WithLevel(level).Err(err).Str("bucket", bucket).Msg("following a bucket failed; trying again")
		level = zerolog.DebugLevel // until it has been there again
		_ = pause(ctx, rewatch)    // ctx is looked at next
	}
}

// rewatch is the wait before a watch that broke is begun anew.
const rewatch = time.Second
