package sweep

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// remove deletes an orphan and emits the event. The intent is in the journal before. If
// the event can't be emitted, the next sweep does that: the user is removed all the
// same.
func (s *Sweeper) remove(ctx context.Context, connection string, account provider.Account, o orphan) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RemovalTimeout)
	defer cancel()
	r := removal{Username: o.user.Name, Lease: o.owner.Lease}
	revision, err := s.journal.begin(ctx, connection, r)
	if err != nil {
		return err
	}
	err = account.Delete(ctx, provider.Deletion{Mode: provider.DeleteUser, User: record.User{Name: o.user.Name, Path: o.user.Path}, Owner: o.owner})
	if err != nil {
		return err
	}
	s.cfg.Log.Warn().Str("username", o.user.Name).Str("lease", o.owner.Lease).Time("created_at", o.user.CreatedAt).Msg("an orphan is removed")
	if err := s.journal.emit(ctx, connection, r, revision); err != nil {
		s.cfg.Log.Warn().Err(err).Str("username", o.user.Name).Msg("the event about a removed orphan could not be emitted; the next sweep tries again")
	}
	return nil
}

// removal is the removal of an orphan, as the state bucket has it.
//
//	{"username":"lessor-alice-…","lease":"alice.ci.06ct…"}
type removal struct {
	Username string `json:"username"`
	Lease    string `json:"lease"`             // as the user's tag has it, which may be anything
	Emitted  bool   `json:"emitted,omitempty"` // the event is out
}

// emittedAge is how long a removal stays in the bucket after its event. A deleted key
// would leave its marker for good.
const emittedAge = time.Minute

const removalPrefix = "removal."

// removalKey is the key of a removal: the connection's name and a hash of the user's.
func removalKey(connection, username string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(username)))
	return removalPrefix + connection + "." + hex.EncodeToString(sum[:16])
}

// journal keeps the removals in the state bucket until their events are out.
type journal struct {
	state  *bucket.Bucket
	events Events
	log    zerolog.Logger
}

// begin writes that a user is about to be removed.
func (j journal) begin(ctx context.Context, connection string, r removal) (revision uint64, err error) {
	key := removalKey(connection, r.Username)
	data, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	for {
		e, err := j.state.Get(ctx, key)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return 0, err
		}
		if err == nil && string(e.Value) == string(data) {
			return e.Revision, nil
		}
		revision, err := j.state.Put(ctx, key, data, e.Revision, 0)
		if !errors.Is(err, bucket.ErrConflict) {
			return revision, err
		}
	}
}

// pendingRemoval is a removal whose event is not known to be out.
type pendingRemoval struct {
	removal
	revision uint64
}

// pending returns the removals of a connection whose events are not known to be out.
func (j journal) pending(ctx context.Context, connection string) ([]pendingRemoval, error) {
	keys, err := j.state.Keys(ctx, removalPrefix+connection+".*")
	if err != nil {
		return nil, err
	}
	var pending []pendingRemoval
	for _, key := range keys {
		e, err := j.state.Get(ctx, key)
		if errors.Is(err, bucket.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := pendingRemoval{revision: e.Revision}
		if err := json.Unmarshal(e.Value, &p.removal); err != nil || removalKey(connection, p.Username) != key {
			j.log.Warn().AnErr("cause", err).Str("key", key).Msg("the state bucket's entry about a removed orphan can't be read, and is left alone")
			continue
		}
		if !p.Emitted {
			pending = append(pending, p)
		}
	}
	return pending, nil
}

// emitRemoved emits the events of the removals whose users AWS does not list any more.
// A user that is listed is removed again, or a lease has a user of that name after all.
func (j journal) emitRemoved(ctx context.Context, connection string, pending []pendingRemoval, listed map[string]bool) error {
	for _, p := range pending {
		if listed[strings.ToLower(p.Username)] {
			continue
		}
		if err := j.emit(ctx, connection, p.removal, p.revision); err != nil {
			return err
		}
	}
	return nil
}

// emit emits the event of a removal, unless it is out already, and writes that down.
func (j journal) emit(ctx context.Context, connection string, r removal, revision uint64) error {
	name := events.NameOf(strings.Split(r.Lease, "."), "orphan")
	_, last, err := j.events.Last(ctx, name, messages.EventOrphanRemoved)
	if err != nil {
		return err
	}
	if last.Username != r.Username {
		lease := &messages.Lease{Name: r.Lease, Identity: name.Identity, Secret: name.Secret, ID: name.ID, State: messages.StateRevoked, Username: r.Username}
		if err := j.events.Emit(ctx, name, messages.EventOrphanRemoved, r.Username, messages.EventData{Lease: lease}); err != nil {
			return err
		}
	}
	r.Emitted = true
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = j.state.Put(ctx, removalKey(connection, r.Username), data, revision, emittedAge)
	if errors.Is(err, bucket.ErrConflict) {
		return nil // another replica has written it
	}
	return err
}
