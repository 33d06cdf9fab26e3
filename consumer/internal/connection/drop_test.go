package connection

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

func unnamed(context.Context) (func(string) bool, error) {
	return func(string) bool { return false }, nil
}

func swept(context.Context, string) bool { return true }

// markUnused stores a connection and makes it one that the next Drop deletes.
func markUnused(t *testing.T, r *Registry, advance func(time.Duration)) provider.Connection {
	t.Helper()
	c := withKey()
	if _, err := r.Ensure(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	advance(dropAfter + time.Second)
	if err := r.Drop(t.Context(), unnamed, swept); err != nil {
		t.Fatal(err)
	}
	advance(dropAfter)
	return c
}

func TestUnusedConnectionIsDropped(t *testing.T) {
	r, advance := newRegistry(t)
	c := markUnused(t, r, advance)
	if err := r.Drop(t.Context(), unnamed, func(context.Context, string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if names, err := r.Names(t.Context()); len(names) != 1 || err != nil {
		t.Fatalf("dropped although the sweep is not complete: %v, %v", names, err)
	}
	if err := r.Drop(t.Context(), unnamed, swept); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Stored(t.Context(), c.Name); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

// The definitions have been read when another is put: it has been answered, and its
// secret access key is stored nowhere else.
func TestDefinitionPutDuringDropKeepsItsConnection(t *testing.T) {
	r, advance := newRegistry(t)
	c := markUnused(t, r, advance)
	err := r.Drop(t.Context(), func(ctx context.Context) (func(string) bool, error) {
		_, err := r.Ensure(ctx, c)
		return func(string) bool { return false }, err
	}, swept)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Stored(t.Context(), c.Name); err != nil {
		t.Errorf("the connection is gone: %v", err)
	}
}
