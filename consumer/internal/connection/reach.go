package connection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// identifyTimeout bounds the first contact with an account.
const identifyTimeout = 15 * time.Second

// errOtherAccount is shown to requesters, too.
var errOtherAccount = messages.Errorf(messages.CodeUnavailable,
	"the broker's AWS credentials are of another account than the one its leases are in; its operator has to fix that")

// EnsureReachable makes sure that the connection of a stored definition is stored and works. Its
// errors are those of [Registry.Ensure] and [Registry.Reach].
func (r *Registry) EnsureReachable(ctx context.Context, c provider.Connection) error {
	_, err := r.Reach(ctx, c.Name)
	if errors.Is(err, bucket.ErrNotFound) {
		if _, err = r.Ensure(ctx, c); err == nil {
			_, err = r.Reach(ctx, c.Name)
		}
	}
	return err
}

// Reach returns the account of a connection. The first call asks AWS who the broker is
// there; concurrent calls share that. It returns
//
//   - [bucket.ErrNotFound] if there is no such connection, [ErrUnreadable] if it can't
//     be read,
//   - a [messages.Error] of code unavailable if the broker's credentials are of another
//     account than before and a lease names the connection,
//   - a [provider.Error] if AWS does not answer, or does not accept the credentials.
func (r *Registry) Reach(ctx context.Context, name string) (provider.Account, error) {
	r.mu.Lock()
	o := r.open[name]
	r.mu.Unlock()
	if o != nil {
		return o.account, nil
	}
	call := r.connecting.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), identifyTimeout)
		defer cancel()
		return r.connect(ctx, name)
	})
	select {
	case result := <-call:
		account, _ := result.Val.(provider.Account)
		return account, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect connects to the account and identifies the broker there.
func (r *Registry) connect(ctx context.Context, name string) (provider.Account, error) {
	e, err := r.load(ctx, name)
	if err != nil {
		return nil, err
	}
	conn, account, err := r.dial(ctx, e.stored)
	if err != nil {
		return nil, err
	}
	me, err := account.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.checkAccount(ctx, e.stored, me); err != nil {
		return nil, err
	}
	if e.Principal == nil || *e.Principal != me {
		if err := r.setPrincipal(ctx, e.stored, me); err != nil {
			return nil, err
		}
	}
	r.remember(name, &opened{account: account, number: me.Account, from: conn, paths: set(e.Paths)}, e.revision)
	return account, nil
}

// checkAccount returns errOtherAccount if the account is another than before and leases
// have users in the one before: users that can't be found here still exist there.
func (r *Registry) checkAccount(ctx context.Context, s stored, me provider.Principal) error {
	if s.Principal == nil || s.Principal.Account == me.Account {
		return nil
	}
	used, err := r.inUse(ctx, s.Name)
	if err != nil || !used {
		return err
	}
	r.log.Error().Str("connection", s.Name).Str("account", s.Principal.Account).Str("account_now", me.Account).Str("arn", me.ARN).
		Msg("the broker's credentials are of another AWS account than before; users in the first account can't be reached")
	return errOtherAccount
}

// setPrincipal passes the connection's key to the other connections of its principal,
// and then stores the principal. In this order, because a stored principal means that
// the key has been passed on.
func (r *Registry) setPrincipal(ctx context.Context, s stored, me provider.Principal) error {
	r.log.Info().Str("connection", s.Name).Str("account", me.Account).Str("arn", me.ARN).Msg("AWS has identified the broker's principal")
	s.Principal = &me
	if err := r.share(ctx, s); err != nil {
		return err
	}
	return r.update(ctx, s.Name, func(now *stored) bool {
		now.Principal = &me
		return true
	})
}

// dial returns the account of a stored connection, without a call to AWS.
func (r *Registry) dial(ctx context.Context, s stored) (provider.Connection, provider.Account, error) {
	conn, err := r.complete(s)
	if err != nil {
		return conn, nil, err
	}
	account, err := r.provider.Connect(ctx, conn)
	if err != nil {
		return conn, nil, fmt.Errorf("connection %s: %w", s.Name, err)
	}
	return conn, account, nil
}

// complete returns the connection with the secret of its access key.
func (r *Registry) complete(s stored) (provider.Connection, error) {
	conn := provider.Connection{Name: s.Name, Region: s.Region, Auth: s.Auth, Session: "lessor-" + r.installation}
	if s.Secret != nil {
		var err error
		if conn.Auth.SecretAccessKey, err = r.keys.OpenValue(purpose(s.Name), s.Secret); err != nil {
			return conn, err
		}
	}
	return conn, nil
}
