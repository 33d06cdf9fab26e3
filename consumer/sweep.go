package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// A sweep finds the IAM users that no lease knows: AWS carried out a call long after
// everybody had given it up, a power cut took a record that was not on the disk yet,
// a bucket was lost. It compares AWS with the lease bucket, connection by connection,
// below the paths that leases have ever had there.
//
// The leases are read first. A user is written down before it is made, so one that
// is not known then and is older than the leases' reading, by a grace time for
// clocks, is nobody's. Only of those the tags are read: they say whether the user is
// this installation's, and which lease's record to look at once more. Then the user
// is removed as any other. That it will be is written down before, so that whoever
// sweeps next tells of it where whoever removed it died or could not.
//
// Many at once are suspicious: a bucket that was restored from a backup does not
// know the users that were made since. They are reported, and a person decides.

// sweepState is how far the sweep of a connection has come.
//
//	{"begun":"2026-11-22T22:00:00Z","ended":"…","held":12}
type sweepState struct {
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended,omitzero"` // before Begun: one is under way, or was cut short
	Held  int       `json:"held,omitempty"` // orphans that a person must decide about
}

const sweepPrefix = "sweep."

// removal is a user that a sweep removes, until that is told.
//
//	{"username":"lessor-alice-…","lease":"alice.ci.06ct…"}
type removal struct {
	Username string `json:"username"`
	Lease    string `json:"lease"` // as the user's tag has it: it may be anything
	Told     bool   `json:"told,omitempty"`
}

// toldAge is how long it stays written down that a removal is told. A key that is
// deleted would leave its mark for good.
const toldAge = time.Minute

// removalPrefix begins the keys of removals: the connection's name and a hash of the
// user's follow.
const removalPrefix = "removal."

func removalKey(connection, username string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(username)))
	return removalPrefix + connection + "." + hex.EncodeToString(sum[:16])
}

// sweepClaim is how long nobody else begins a sweep that does not end.
const sweepClaim = 15 * time.Minute

// sweepConnections sweeps every connection whose last sweep is long ago.
func (c *Consumer) sweepConnections(ctx context.Context) {
	keys, err := c.connections.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		c.log.Warn().Err(err).Msg("a sweep could not begin; trying again")
		return
	}
	held := 0
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		claimed, before := c.claimSweep(ctx, name)
		if ctx.Err() != nil || !claimed {
			held += before
			continue
		}
		report := c.sweep(ctx, name, false)
		if report.Error != "" && ctx.Err() == nil {
			c.log.Warn().Str("connection", name).Str("error", report.Error).Msg("a sweep is not complete; trying again later")
			held += before
			continue
		}
		held += heldIn(report)
		c.endSweep(ctx, name, heldIn(report))
	}
	if ctx.Err() == nil {
		c.cfg.Meter.OrphansHeld(held)
	}
}

// heldIn is how many users a sweep has left to an operator.
func heldIn(report messages.Sweep) int {
	if !report.AwaitsConsent {
		return 0
	}
	return len(report.Orphans)
}

// sweepNow sweeps every connection, because a person wants that.
func (c *Consumer) sweepNow(ctx context.Context, apply bool) ([]messages.Sweep, error) {
	keys, err := c.connections.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return nil, err
	}
	sweeps := []messages.Sweep{}
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		if _, _, err := c.connections.load(ctx, name); errors.Is(err, errNotFound) {
			continue // dropped
		}
		c.log.Info().Str("connection", name).Bool("apply", apply).Msg("a sweep that an operator wants")
		report := c.sweep(ctx, name, apply)
		if report.Error == "" {
			c.endSweep(ctx, name, heldIn(report))
		}
		sweeps = append(sweeps, report)
	}
	return sweeps, nil
}

// claimSweep says whether it is this replica's turn to sweep a connection, and how many
// users the last sweep has left to an operator.
func (c *Consumer) claimSweep(ctx context.Context, name string) (claimed bool, held int) {
	data, revision, err := c.connections.state.get(ctx, sweepPrefix+name)
	if err != nil && !errors.Is(err, errNotFound) {
		return false, 0
	}
	var s sweepState
	_ = json.Unmarshal(data, &s) // what can't be read is begun anew
	now := c.cfg.Now()
	if now.Sub(s.Ended) < c.cfg.SweepEvery || now.Sub(s.Begun) < min(sweepClaim, c.cfg.SweepEvery) {
		return false, s.Held
	}
	s.Begun = now.UTC()
	return c.saveSweep(ctx, name, s, revision) == nil, s.Held
}

func (c *Consumer) endSweep(ctx context.Context, name string, held int) {
	data, revision, err := c.connections.state.get(ctx, sweepPrefix+name)
	var s sweepState
	if err != nil || json.Unmarshal(data, &s) != nil {
		return // it is done again
	}
	s.Ended, s.Held = c.cfg.Now().UTC(), held
	if err := c.saveSweep(ctx, name, s, revision); err != nil {
		c.log.Warn().Err(err).Str("connection", name).Msg("the end of a sweep could not be written down; it is done again")
	}
}

func (c *Consumer) saveSweep(ctx context.Context, name string, s sweepState, revision uint64) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = c.connections.state.put(ctx, sweepPrefix+name, data, revision, 0)
	return err
}

// sweep compares one account with the leases, and removes what no lease knows. Many
// at once it removes only where a person says so.
func (c *Consumer) sweep(ctx context.Context, name string, apply bool) messages.Sweep {
	report := messages.Sweep{Connection: name}
	err := c.sweepInto(ctx, &report, apply)
	if err != nil {
		c.log.Warn().Err(err).Str("connection", name).Msg("a sweep failed")
		report.Error = safe(err)
	}
	return report
}

func (c *Consumer) sweepInto(ctx context.Context, report *messages.Sweep, apply bool) error {
	stored, _, err := c.connections.load(ctx, report.Connection)
	if err != nil {
		return err
	}
	account, err := c.connections.reach(ctx, report.Connection)
	if err != nil {
		return err
	}
	if stored.Principal != nil {
		report.Account = stored.Principal.Account
	}
	readAt := c.cfg.Now()
	known, err := c.leases.users(ctx)
	if err != nil {
		return err
	}
	untold, err := c.removals(ctx, report.Connection) // before AWS is asked who is there
	if err != nil {
		return err
	}
	orphans, there, err := c.findOrphans(ctx, account, stored.Paths, known, readAt.Add(-c.cfg.SweepGrace), report)
	if err != nil {
		return err
	}
	if err := c.tellRemoved(ctx, report.Connection, untold, there); err != nil {
		return err
	}
	_, restored, err := c.holding(ctx) // asked last: the leases that were read are not older than that
	if err != nil {
		return err
	}
	report.AwaitsConsent = (len(orphans) > c.cfg.SweepMost || restored && len(orphans) > 0) && !apply
	for _, o := range orphans {
		found := messages.Orphan{Username: o.user.Name, Lease: o.owner.Lease, CreatedAt: o.user.CreatedAt}
		if !report.AwaitsConsent {
			if err := c.removeOrphan(ctx, report.Connection, account, o); err != nil {
				c.log.Warn().Err(err).Str("username", o.user.Name).Msg("a user that no lease knows could not be removed; trying again later")
				found.Error = safe(err)
			}
			found.Removed = found.Error == ""
			c.cfg.Meter.OrphanSwept(found.Removed)
		}
		report.Orphans = append(report.Orphans, found)
	}
	if report.AwaitsConsent && !restored {
		c.log.Error().Str("connection", report.Connection).Str("account", report.Account).Int("users", len(orphans)).
			Msg("so many users that no lease knows are suspicious, and left alone: was the lease bucket restored from a backup? See \"lessor sweep\"")
	}
	return nil
}

// orphan is a user of this installation that no lease knows.
type orphan struct {
	user  provider.ListedUser
	owner provider.Owner
}

// findOrphans lists the users below the paths and asks whose those are that no lease
// knows and that were made before a time. It also returns the names of all, in lower
// case.
func (c *Consumer) findOrphans(ctx context.Context, account provider.Account, paths []string, known knownUsers, before time.Time, report *messages.Sweep) ([]orphan, map[string]bool, error) {
	var orphans []orphan
	seen := map[string]bool{} // one path may be below another
	for _, path := range paths {
		for marker := ""; ; {
			page, next, err := account.ListUsers(ctx, path, marker)
			if err != nil {
				return nil, nil, err
			}
			for _, u := range page {
				name := strings.ToLower(u.Name) // IAM's names ignore case
				if seen[name] {
					continue
				}
				seen[name] = true
				report.Users++
				if known.names[name] || !u.CreatedAt.Before(before) {
					continue
				}
				owner, ours, err := c.orphaned(ctx, account, u, known.unread)
				if err != nil {
					return nil, nil, err
				}
				if ours {
					orphans = append(orphans, orphan{user: u, owner: owner})
				}
			}
			if marker = next; marker == "" {
				break
			}
		}
	}
	return orphans, seen, nil
}

// orphaned says whether a user is this installation's and its lease does not know it:
// because it is over, because there is no record of it, or because it has another. A
// lease whose record can't be read has its user; and while there are such, that may be
// any user whose tag does not say which lease it is of.
func (c *Consumer) orphaned(ctx context.Context, account provider.Account, u provider.ListedUser, unread bool) (provider.Owner, bool, error) {
	owner, tagged, err := account.OwnerOf(ctx, u.Name)
	if err != nil || !tagged || owner.Installation != c.installation {
		return owner, false, err
	}
	name, err := messages.ParseLeaseName(owner.Lease)
	if err != nil {
		return owner, !unread, nil // a tag that somebody has changed; the installation's is there
	}
	rec, err := c.leases.load(ctx, name)
	if errors.Is(err, errNotFound) {
		return owner, true, nil
	}
	if isUnreadable(err) {
		return owner, false, nil
	}
	if err != nil {
		return owner, false, fmt.Errorf("the record of %s: %w", name, err)
	}
	return owner, rec.State.Ended() || !strings.EqualFold(rec.User.Name, u.Name), nil
}

// removeOrphan writes down that it removes a user, does, and tells. What it could not
// tell the next sweep does: the user is removed all the same.
func (c *Consumer) removeOrphan(ctx context.Context, connection string, account provider.Account, o orphan) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Teardown)
	defer cancel()
	r := removal{Username: o.user.Name, Lease: o.owner.Lease}
	revision, err := c.noteRemoval(ctx, connection, r)
	if err != nil {
		return err
	}
	err = account.Delete(ctx, provider.Deletion{User: record.User{Name: o.user.Name, Path: o.user.Path}, Owner: o.owner})
	if err != nil {
		return err
	}
	c.log.Warn().Str("username", o.user.Name).Str("lease", o.owner.Lease).Time("created_at", o.user.CreatedAt).Msg("a user that no lease knew is removed")
	if err := c.tellRemoval(ctx, connection, r, revision); err != nil {
		c.log.Warn().Err(err).Str("username", o.user.Name).Msg("that a user is removed could not be told; the next sweep tries again")
	}
	return nil
}

// noteRemoval writes down that a user is being removed.
func (c *Consumer) noteRemoval(ctx context.Context, connection string, r removal) (revision uint64, err error) {
	key := removalKey(connection, r.Username)
	data, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	for {
		have, revision, err := c.connections.state.get(ctx, key)
		if err != nil && !errors.Is(err, errNotFound) || err == nil && string(have) == string(data) {
			return revision, err
		}
		if revision, err = c.connections.state.put(ctx, key, data, revision, 0); !errors.Is(err, errConflict) {
			return revision, err
		}
	}
}

// notedRemoval is a removal that nobody has told of yet, at its revision.
type notedRemoval struct {
	removal
	revision uint64
}

// removals are those of a connection that nobody has told of yet.
func (c *Consumer) removals(ctx context.Context, connection string) ([]notedRemoval, error) {
	keys, err := c.connections.state.keys(ctx, removalPrefix+connection+".*")
	if err != nil {
		return nil, err
	}
	var noted []notedRemoval
	for _, key := range keys {
		data, revision, err := c.connections.state.get(ctx, key)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n := notedRemoval{revision: revision}
		if err := json.Unmarshal(data, &n.removal); err != nil || removalKey(connection, n.Username) != key {
			c.log.Warn().AnErr("cause", err).Str("key", key).Msg("what was written down about a user's removal can't be read, and is left alone")
			continue
		}
		if !n.Told {
			noted = append(noted, n)
		}
	}
	return noted, nil
}

// tellRemoved tells of the removals whose users are not there any more. One whose user
// is there is not told: it is removed again, or somebody's lease has it after all.
func (c *Consumer) tellRemoved(ctx context.Context, connection string, noted []notedRemoval, there map[string]bool) error {
	for _, n := range noted {
		if there[strings.ToLower(n.Username)] {
			continue
		}
		if err := c.tellRemoval(ctx, connection, n.removal, n.revision); err != nil {
			return err
		}
	}
	return nil
}

// tellRemoval tells that a user is removed, unless that is told already, and writes
// that down.
func (c *Consumer) tellRemoval(ctx context.Context, connection string, r removal, revision uint64) error {
	name := safeName(strings.Split(r.Lease, "."), "orphan")
	_, last, err := c.lastTold(ctx, name, messages.EventOrphanRemoved)
	if err != nil {
		return err
	}
	if last.Username != r.Username {
		lease := &messages.Lease{Name: r.Lease, Identity: name.Identity, Secret: name.Secret, ID: name.ID, State: messages.StateRevoked, Username: r.Username}
		if err := c.emit(ctx, name, messages.EventOrphanRemoved, r.Username, messages.EventData{Lease: lease}); err != nil {
			return err
		}
	}
	r.Told = true
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = c.connections.state.put(ctx, removalKey(connection, r.Username), data, revision, toldAge)
	if errors.Is(err, errConflict) {
		return nil // another replica has
	}
	return err
}

// knownUsers are the users that leases know which are not over.
type knownUsers struct {
	names  map[string]bool // in lower case
	unread bool            // there are records that can't be read
}

// users are the users that leases know. Of a record that can't be read that is the
// user whose name is left in it, if any; by its tag it is found in any case.
func (s *leaseStore) users(ctx context.Context) (knownUsers, error) {
	known := knownUsers{names: map[string]bool{}}
	err := s.eachLive(ctx, ">", func(_ string, rec held, err error) {
		name := rec.User.Name
		if bad := (*unreadable)(nil); errors.As(err, &bad) {
			known.unread, name = true, bad.remains.Username
		}
		known.names[strings.ToLower(name)] = true
	})
	return known, err
}

// use makes sure that a connection's record has the path: the sweep looks below it,
// whatever becomes of the definition.
func (a *connections) use(ctx context.Context, name, path string) error {
	key := name + " " + path
	a.mu.Lock()
	noted := a.paths[key]
	a.mu.Unlock()
	if noted || path == "" {
		return nil
	}
	err := a.change(ctx, name, func(c *storedConnection) bool {
		if slices.Contains(c.Paths, path) {
			return false
		}
		c.Paths = append(c.Paths, path)
		return true
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths[key] = true
	return nil
}
