package sweep

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// orphan is a user of this installation that no lease knows.
type orphan struct {
	user  provider.ListedUser
	owner provider.Owner
}

// findOrphans returns the orphans below the paths that were created before a time, and
// the names of all users there, in lower case. On an error it also returns the names
// that it has come to.
func (s *Sweeper) findOrphans(ctx context.Context, account provider.Account, paths []string, known store.Users, before time.Time) ([]orphan, map[string]bool, error) {
	var orphans []orphan
	listed := map[string]bool{}
	for u, err := range users(ctx, account, paths) {
		if err != nil {
			return nil, listed, err
		}
		name := strings.ToLower(u.Name) // IAM's names ignore case
		if listed[name] {
			continue // one path may be below another
		}
		listed[name] = true
		if known.Names[name] || !u.CreatedAt.Before(before) {
			continue
		}
		owner, orphaned, err := s.isOrphan(ctx, account, u, known.Unreadable)
		if err != nil {
			return nil, listed, err
		}
		if orphaned {
			orphans = append(orphans, orphan{user: u, owner: owner})
		}
	}
	return orphans, listed, nil
}

// users lists the users below the paths, page by page. It ends after an error.
func users(ctx context.Context, account provider.Account, paths []string) iter.Seq2[provider.ListedUser, error] {
	return func(yield func(provider.ListedUser, error) bool) {
		for _, path := range paths {
			for marker := ""; ; {
				page, next, err := account.ListUsers(ctx, path, marker)
				if err != nil {
					yield(provider.ListedUser{}, err)
					return
				}
				for _, u := range page {
					if !yield(u, nil) {
						return
					}
				}
				if marker = next; marker == "" {
					break
				}
			}
		}
	}
}

// isOrphan reports whether a user is this installation's and its lease does not know
// it: the lease has ended, has no record, or has another user. A lease whose record
// can't be read counts as having the user. While there are such records, so does a
// user whose tag does not name a lease.
func (s *Sweeper) isOrphan(ctx context.Context, account provider.Account, u provider.ListedUser, unreadable bool) (provider.Owner, bool, error) {
	owner, tagged, err := account.OwnerOf(ctx, u.Name)
	if err != nil || !tagged || owner.Installation != s.cfg.Installation {
		return owner, false, err
	}
	name, err := messages.ParseLeaseName(owner.Lease)
	if err != nil {
		return owner, !unreadable, nil // the lease's tag was changed, the installation's was not
	}
	e, err := s.cfg.Leases.Load(ctx, name)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return owner, true, nil
	case store.IsUnreadable(err):
		return owner, false, nil
	case err != nil:
		return owner, false, fmt.Errorf("the record of %s: %w", name, err)
	}
	return owner, e.State.Ended() || !strings.EqualFold(e.User.Name, u.Name), nil
}
