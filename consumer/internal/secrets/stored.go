package secrets

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// SourceFile is the source of definitions that come from files and can be changed there
// only.
const SourceFile = "file"

// stored is a definition as it stands in the secret bucket.
//
//	{"v":1,"source":"file","definition":{"name":"ci",…}}
type stored struct {
	Version int    `json:"v"`
	Source  string `json:"source,omitempty"` // [SourceFile], or "" for one put by an operator
	// Deleting means that the definition issues no leases, and is removed when its last
	// lease has ended.
	Deleting bool `json:"deleting,omitempty"`
	// Definition has no secret access key: that is stored with the connection.
	Definition messages.DynamicSecret `json:"definition"`
}

const storedVersion = 1

// usable reports whether the definition could be read. If not it has only its name.
func (s stored) usable() bool { return s.Definition.AWS.Region != "" }

// entry is a stored definition and its revision.
type entry struct {
	stored
	raw      []byte // nil if there is no definition
	revision uint64 // without a definition: to create it on
}

// ErrNewerVersion is the cause if a newer broker has put a definition. It is neither
// used, changed nor deleted.
var ErrNewerVersion = errors.New("the definition was put by a newer broker")

func errNoSecret(name string) error {
	return messages.Errorf(messages.CodeSecretNotFound, "there is no dynamic secret %q", name)
}

// decode reads the definition of that name. If it returns an error of code
// invalid_secret, the definition can't be used, and the other fields are set as far as
// they could be read.
func decode(name string, data []byte) (stored, error) {
	var v struct {
		Version    int             `json:"v"`
		Source     string          `json:"source"`
		Deleting   bool            `json:"deleting"`
		Definition json.RawMessage `json:"definition"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return stored{}, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s is damaged; put it again", name).Because(err)
	}
	if v.Version > storedVersion {
		return stored{}, messages.Errorf(messages.CodeInternal, "the definition of %s is of a newer version, %d; run a newer lessor", name, v.Version).Because(ErrNewerVersion)
	}
	s := stored{Version: v.Version, Source: v.Source, Deleting: v.Deleting}
	d, err := messages.DecodeStoredSecret(v.Definition)
	if err == nil && d.Name != name {
		err = errors.New("it has the name of another dynamic secret")
	}
	if err != nil {
		return s, messages.Errorf(messages.CodeInvalidSecret, "the definition of %s can't be used; put it again", name).Because(err)
	}
	s.Definition = d
	return s, nil
}

// load returns a definition from the bucket's leader. It returns [bucket.ErrNotFound]
// if there is none, and [ErrNewerVersion]. A definition that can't be used is no error.
func (r *Registry) load(ctx context.Context, name string) (entry, error) {
	raw, err := r.bucket.Get(ctx, name)
	if err != nil {
		return entry{revision: raw.Revision}, err
	}
	s, err := decode(name, raw.Value)
	if messages.IsCode(err, messages.CodeInvalidSecret) {
		s.Definition.Name, err = name, nil
	}
	return entry{stored: s, raw: raw.Value, revision: raw.Revision}, err
}

// amend changes what is stored beside a definition, and leaves the definition as it is,
// also one that can't be used. It returns [bucket.ErrConflict] if it has been written
// since it was read.
func (r *Registry) amend(ctx context.Context, name string, e entry, change func(fields map[string]json.RawMessage)) error {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.raw, &fields); err != nil || fields == nil {
		fields = map[string]json.RawMessage{"v": json.RawMessage("1"), "definition": json.RawMessage("{}")}
	}
	change(fields)
	data, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = r.bucket.Put(ctx, name, data, e.revision, 0)
	r.forget(name)
	return err
}

// each visits every definition, in the order of their names, as [Registry.load] returns
// it: err is nil, or has [ErrNewerVersion] in its chain.
func (r *Registry) each(ctx context.Context, visit func(name string, e entry, err error) error) error {
	names, err := r.bucket.Keys(ctx, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		e, err := r.load(ctx, name)
		if errors.Is(err, bucket.ErrNotFound) {
			continue
		}
		if err != nil && !errors.Is(err, ErrNewerVersion) {
			return err
		}
		if err := visit(name, e, err); err != nil {
			return err
		}
	}
	return nil
}
