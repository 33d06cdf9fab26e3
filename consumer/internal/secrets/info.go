package secrets

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Info returns a dynamic secret as it is shown to operators. It returns a
// [messages.Error] of code secret_not_found if there is none, and internal with the
// cause [ErrNewerVersion] if a newer broker has put it.
func (r *Registry) Info(ctx context.Context, name string) (messages.SecretInfo, error) {
	e, err := r.load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return messages.SecretInfo{}, errNoSecret(name)
	}
	if err != nil {
		return messages.SecretInfo{}, err
	}
	return r.info(ctx, name, e)
}

func (r *Registry) info(ctx context.Context, name string, e entry) (messages.SecretInfo, error) {
	i := messages.SecretInfo{
		Name: name, Revision: e.revision, State: messages.SecretActive, Source: e.Source, Definition: e.Definition, Installation: r.installation,
	}
	if e.Deleting {
		i.State = messages.SecretDeleting
	}
	if !e.usable() {
		i.Notes = []string{"the stored definition can't be read; put it again"}
		return i, nil
	}
	i.Notes = r.provider.Notes(e.Definition)
	var err error
	i.Connection, err = r.connections.Info(ctx, r.ConnectionOf(e.Definition).Name)
	if errors.Is(err, connection.ErrUnreadable) {
		i.Notes, err = append(i.Notes, "the stored connection can't be read: leases can be neither issued nor ended"), nil
	}
	return i, err
}

// List returns all dynamic secrets, in the order of their names. One that a newer broker
// has put has only its name and a note.
func (r *Registry) List(ctx context.Context) ([]messages.SecretInfo, error) {
	infos := []messages.SecretInfo{}
	err := r.each(ctx, func(name string, e entry, newer error) error {
		if newer != nil {
			infos = append(infos, messages.SecretInfo{
				Name: name, State: messages.SecretActive, Installation: r.installation,
				Definition: messages.DynamicSecret{Name: name}, Notes: []string{newer.Error()},
			})
			return nil
		}
		i, err := r.info(ctx, name, e)
		infos = append(infos, i)
		return err
	})
	if err != nil {
		return nil, err
	}
	return infos, nil
}

// NamesFrom returns the names of the definitions that have a source. Those that a newer
// broker has put are left out.
func (r *Registry) NamesFrom(ctx context.Context, source string) ([]string, error) {
	var names []string
	err := r.each(ctx, func(name string, e entry, newer error) error {
		if newer == nil && e.Source == source {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// Connections returns which connections the definitions name. A definition that can't
// be read may name any of them.
func (r *Registry) Connections(ctx context.Context) (named func(name string) bool, err error) {
	names, all := map[string]bool{}, false
	err = r.each(ctx, func(_ string, e entry, newer error) error {
		if newer != nil || !e.usable() {
			all = true
			return nil
		}
		names[r.ConnectionOf(e.Definition).Name] = true
		return nil
	})
	return func(name string) bool { return all || names[name] }, err
}
