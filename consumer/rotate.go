package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// rotation is the change of a connection's access key, as far as it has come. It
// is written before each step that it tells of, so that whoever goes on after a
// crash knows what there may be:
//
//	had                 the user's keys are listed; the next step makes another
//	had, next, secret   it is made; the next step proves it and switches
//	had, retire         it is in use; the next step deletes the old one
//
// Between the first two a key may exist that nobody knows the secret of: it is
// none of those that there were, nor one that a connection has, and is deleted.
// Whoever goes on with a rotation takes it over first, so that the one before finds
// the record changed and deletes what it alone has made.
type rotation struct {
	Had    []string         `json:"had"`              // ids of the keys that there were
	Next   string           `json:"next,omitempty"`   // id of the new one
	Secret *messages.Sealed `json:"secret,omitempty"` // of the new one
	Retire string           `json:"retire,omitempty"` // id of the old one
	// Claimed is when somebody began or took it over last; nobody else does before
	// claimTime has passed.
	Claimed time.Time `json:"claimed"`
}

const (
	// claimTime is how long nobody else touches a rotation.
	claimTime = 2 * time.Minute
	// rotateTimeout is how long one try at it may take.
	rotateTimeout = claimTime * 3 / 4
	// maxOwnKeys is how many access keys an IAM user may have.
	maxOwnKeys = 2
)

// errStep ends a rotation that a person must do something about first.
func errStep(format string, args ...any) error {
	return messages.Errorf(messages.CodeProviderRejected, format, args...)
}

// rotate gives a connection a new access key: makes it, proves that it works and is
// the same principal's, switches, and deletes the old one. It goes on with a
// rotation that was not finished.
func (a *connections) rotate(ctx context.Context, name string, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	r := &rotating{connections: a, name: name, pause: cfg.ProbeEvery}
	if err := r.claim(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.create, r.prove, r.retire} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rotating is a rotation in somebody's hands.
type rotating struct {
	*connections
	name     string
	pause    time.Duration // between two tries of the new key
	c        storedConnection
	kept     storedConnection // c as it was read or written last
	revision uint64
}

// look reads the connection.
func (r *rotating) look(ctx context.Context) error {
	var err error
	r.c, r.revision, err = r.load(ctx, r.name)
	r.kept = r.c
	return err
}

// save writes the connection. What others have written into it meanwhile stays, unless
// that is about its key.
func (r *rotating) save(ctx context.Context) error {
	for {
		revision, err := r.connections.save(ctx, r.c, r.revision)
		if err == nil {
			r.kept, r.revision = r.c, revision
			return nil
		}
		if !errors.Is(err, errConflict) {
			return err
		}
		if err := r.still(ctx); err != nil {
			return err
		}
	}
}

// still makes sure that nobody else has changed the key or the rotation, and takes over
// what else has changed: who the connection is, what its leases' paths are, when it was
// needed.
func (r *rotating) still(ctx context.Context) error {
	have, revision, err := r.load(ctx, r.name)
	if err != nil || !have.sameKeys(r.kept) {
		return messages.Errorf(messages.CodeUnavailable, "the key of %s is being changed by somebody else", r.name).Because(err)
	}
	r.kept, r.revision = have, revision
	r.c = r.c.besideKeys(have)
	return nil
}

// besideKeys is the connection with all that another version of it has and that is not
// about its keys.
func (c storedConnection) besideKeys(of storedConnection) storedConnection {
	c.Principal, c.Paths, c.KeptAt, c.UnusedSince = of.Principal, of.Paths, of.KeptAt, of.UnusedSince
	return c
}

// sameKeys says whether two versions of a connection have the same keys, and are as far
// with the same rotation.
func (c storedConnection) sameKeys(other storedConnection) bool {
	one, err := json.Marshal(c.besideKeys(other))
	two, err2 := json.Marshal(other)
	return err == nil && err2 == nil && bytes.Equal(one, two)
}

// claim begins the rotation, or takes it over.
func (r *rotating) claim(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	if r.c.Secret == nil {
		return messages.Errorf(messages.CodeInvalidRequest, "only aws.auth.method %s has a key that can be rotated, and this is %s", messages.AuthAccessKey, r.c.Auth.Method)
	}
	if r.c.Rotation != nil {
		return r.takeOver(ctx)
	}
	had, err := r.onlyKey(ctx)
	if err != nil {
		return err
	}
	r.c.Rotation = &rotation{Had: had, Claimed: r.now().UTC()}
	if err := r.save(ctx); err != nil {
		return err
	}
	return r.alone(ctx)
}

// takeOver goes on with a rotation that nobody is at any more.
func (r *rotating) takeOver(ctx context.Context) error {
	if left := r.c.Rotation.Claimed.Add(claimTime).Sub(r.now()); left > 0 {
		return messages.Errorf(messages.CodeUnavailable, "the key is being rotated since %s; if that has failed it goes on by itself in %s",
			r.c.Rotation.Claimed.Format(time.RFC3339), left.Round(time.Second))
	}
	next := *r.c.Rotation
	next.Claimed = r.now().UTC()
	r.c.Rotation = &next
	return r.save(ctx)
}

// onlyKey lists the keys of the user, which must be one, and the one in use.
func (r *rotating) onlyKey(ctx context.Context) ([]string, error) {
	account, err := r.reach(ctx, r.name)
	if err != nil {
		return nil, r.blame(ctx, err)
	}
	had, err := account.OwnKeys(ctx)
	if err != nil {
		return nil, r.blame(ctx, err)
	}
	if !slices.Contains(had, r.c.Auth.AccessKeyID) {
		return nil, r.blame(ctx, errStep("the key %s is not one of its user's", r.c.Auth.AccessKeyID))
	}
	if len(had) >= maxOwnKeys {
		other := slices.DeleteFunc(slices.Clone(had), func(id string) bool { return id == r.c.Auth.AccessKeyID })
		return nil, r.blame(ctx, errStep("the user has %d access keys, and AWS allows no more; %s is in use; delete %s and try again", len(had), r.c.Auth.AccessKeyID, strings.Join(other, ", ")))
	}
	return had, nil
}

// blame is an error of AWS about the key, unless somebody else has changed that
// meanwhile: what AWS says then is about another key than the connection's.
func (r *rotating) blame(ctx context.Context, err error) error {
	if changed := r.still(ctx); changed != nil {
		return errors.Join(changed, err)
	}
	return err
}

// alone makes sure that no other connection of the same principal is in rotation:
// each would take the other's key for one that is lost. Both have been written down
// before either looks, so at least one gives way.
func (r *rotating) alone(ctx context.Context) error {
	others, err := r.others(ctx, r.name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Rotation != nil && r.c.samePrincipal(other) {
			r.c.Rotation = nil
			return errors.Join(messages.Errorf(messages.CodeUnavailable, "the key is being rotated already, for %s; try again when that is done", other.Name), r.save(ctx))
		}
	}
	return nil
}

// create makes the new key, and first deletes one that an earlier try has made and
// lost.
func (r *rotating) create(ctx context.Context) error {
	if r.c.Rotation.Retire != "" {
		return nil
	}
	_, account, err := r.open(ctx, r.c)
	if err != nil {
		return err
	}
	have, err := account.OwnKeys(ctx)
	if next := r.c.Rotation.Next; next != "" && (err != nil || slices.Contains(have, next)) {
		return nil // the key in use may be the one that is gone
	}
	if err != nil {
		return err
	}
	if err := r.dropLost(ctx, account, have); err != nil {
		return err
	}
	made, err := account.CreateOwnKey(ctx)
	if kind := provider.AsError(err).Kind; err != nil && (kind == provider.Denied || kind == provider.Rejected) {
		r.c.Rotation = nil // there is nothing to go on with
		return errors.Join(err, r.save(ctx))
	}
	if err != nil {
		return err
	}
	next := *r.c.Rotation
	next.Next = made.AccessKeyID
	if next.Secret, err = r.keys.SealValue(purpose(r.name), made.SecretAccessKey); err == nil {
		r.c.Rotation = &next
		err = r.save(ctx)
	}
	if err != nil && messages.IsCode(err, messages.CodeUnavailable) {
		// Somebody else has taken it over, and may have looked before this key was
		// there.
		err = errors.Join(err, account.DeleteOwnKey(ctx, made.AccessKeyID))
	}
	return err
}

// dropLost deletes the keys that an unfinished rotation has made and nobody knows
// the secret of. What is known to any connection is none of those: somebody may have
// made a key by hand meanwhile. Nor is what whoever has taken the rotation over has
// made: the keys were listed before the record is looked at.
func (r *rotating) dropLost(ctx context.Context, account provider.Account, have []string) error {
	known := append([]string{r.c.Auth.AccessKeyID}, r.c.Rotation.Had...)
	others, err := r.others(ctx, r.name)
	if err != nil {
		return err
	}
	for _, other := range others {
		known = append(known, other.Auth.AccessKeyID)
	}
	if err := r.still(ctx); err != nil {
		return err
	}
	for _, id := range have {
		if slices.Contains(known, id) {
			continue
		}
		r.log.Warn().Str("connection", r.name).Str("access_key_id", id).Msg("a key that an unfinished rotation has made is deleted")
		if err := account.DeleteOwnKey(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// prove waits until AWS accepts the new key, makes sure whose it is, and switches
// to it.
func (r *rotating) prove(ctx context.Context) error {
	if r.c.Rotation.Retire != "" {
		return nil
	}
	next := r.c
	next.Auth.AccessKeyID, next.Secret = r.c.Rotation.Next, r.c.Rotation.Secret
	if err := r.accepted(ctx, next); err != nil {
		return err
	}
	next.Rotation = &rotation{Had: r.c.Rotation.Had, Retire: r.c.Auth.AccessKeyID, Claimed: r.c.Rotation.Claimed}
	next.RotatedAt, next.Retired = r.now().UTC(), append(slices.Clone(r.c.Retired), r.c.Auth.AccessKeyID)
	r.c = next
	if err := r.save(ctx); err != nil {
		return err
	}
	r.log.Info().Str("connection", r.name).Str("access_key_id", r.c.Auth.AccessKeyID).Str("old", r.c.Rotation.Retire).Msg("a new access key is in use")
	return nil
}

// accepted returns when AWS has accepted the key several times in a row: its
// servers do not learn of it at the same moment.
func (r *rotating) accepted(ctx context.Context, c storedConnection) error {
	conn, err := r.complete(c)
	if err != nil {
		return err
	}
	conn.Name += nextName
	account, err := r.provider.Connect(ctx, conn)
	if err != nil {
		return err
	}
	for row := 0; row < successes; {
		me, err := account.Identify(ctx)
		switch {
		case err == nil && c.Principal != nil && me != *c.Principal:
			return errStep("the new key belongs to %s and not to %s", me.ARN, c.Principal.ARN)
		case err == nil:
			row++
		case provider.AsError(err).Kind != provider.Unavailable && provider.AsError(err).Kind != provider.NotVisible:
			return err
		default:
			row = 0
		}
		if pauseErr := pause(ctx, r.pause); pauseErr != nil {
			return errors.Join(pauseErr, err)
		}
	}
	return nil
}

// retire tells everybody of the new key and deletes the old one.
func (r *rotating) retire(ctx context.Context) error {
	if err := r.share(ctx, r.c); err != nil {
		return err
	}
	// The other replicas learn by their watch. A call that one of them has just
	// signed with the old key is tried again if AWS refuses it.
	if err := pause(ctx, r.pause); err != nil {
		return err
	}
	_, account, err := r.open(ctx, r.c)
	if err != nil {
		return err
	}
	if err := account.DeleteOwnKey(ctx, r.c.Rotation.Retire); err != nil {
		return fmt.Errorf("the new key is in use, and the old one could not be deleted yet: %w", err)
	}
	r.c.Rotation = nil
	return r.save(ctx)
}

// unfinished returns the connections whose rotation nobody is at.
func (a *connections) unfinished(ctx context.Context) ([]string, error) {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		c, _, err := a.load(ctx, name)
		if err == nil && c.Rotation != nil && a.now().Sub(c.Rotation.Claimed) > claimTime {
			names = append(names, name)
		}
	}
	return names, nil
}
