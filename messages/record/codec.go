package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Version is the format that [Record.Encode] writes. [Decode] reads this version
// and no newer one.
const Version = 1

// ErrNewerVersion is in the chain of [Decode]'s error for a record of a newer
// version. Such a record belongs to a newer broker and must be left alone.
var ErrNewerVersion = fmt.Errorf("the record is of a newer version than %d", Version)

var errNotAName = errors.New("its key is not a lease name")

// Encode returns the record as it is stored.
func (r Record) Encode() ([]byte, error) {
	r.Version = Version
	return json.Marshal(r) // #nosec G117 -- "secret" is the name of a dynamic secret
}

// Decode reads a record. It refuses unknown fields, because writing the record back
// would lose them.
func Decode(data []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&r)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("data after the record")
		}
	}
	if err != nil {
		return Record{}, notARecord(data, err)
	}
	if err := checkVersion(r.Version); err != nil {
		return Record{}, err
	}
	if r.TeardownTries < 0 {
		return Record{}, damaged(fmt.Errorf("%d failed teardowns", r.TeardownTries))
	}
	if err := checkIndexed(r.State, r.Due, r.Attempt); err != nil {
		return Record{}, err
	}
	if _, err := messages.NewLeaseName(r.Identity, r.Secret, r.ID); err != nil {
		return Record{}, damaged(err)
	}
	return r, nil
}

// DecodeAt reads the record at a key of the lease bucket. The record of another
// lease is an error.
func DecodeAt(key string, data []byte) (Record, error) {
	if _, err := messages.ParseLeaseName(key); err != nil {
		return Record{}, errNotAName
	}
	r, err := Decode(data)
	if err != nil {
		return Record{}, err
	}
	if r.Name().String() != key {
		return Record{}, damaged(fmt.Errorf("it is the record of %s", r.Name()))
	}
	return r, nil
}

// Partial is what could be read of a record that [Decode] refuses. Fields may be
// empty.
type Partial struct {
	Username   string
	Connection string
}

// DecodePartial reads the user and the connection of a record that [Decode] refuses,
// so that they still count as in use. A newer version has these fields in the same
// place, or not at all.
func DecodePartial(data []byte) Partial {
	var r struct {
		Connection json.RawMessage `json:"connection"`
		User       struct {
			Name json.RawMessage `json:"name"`
		} `json:"user"`
	}
	_ = json.Unmarshal(data, &r) // a field of another type does not affect the others
	var p Partial
	_ = json.Unmarshal(r.Connection, &p.Connection)
	_ = json.Unmarshal(r.User.Name, &p.Username)
	return p
}

func checkVersion(v int) error {
	switch {
	case v > Version:
		return fmt.Errorf("%w: %d", ErrNewerVersion, v)
	case v != Version:
		return damaged(fmt.Errorf("version %d", v))
	}
	return nil
}

func checkIndexed(state messages.State, due time.Time, attempt int) error {
	switch {
	case !state.Valid():
		return damaged(fmt.Errorf("state %q", state))
	case attempt < 1:
		return damaged(fmt.Errorf("attempt %d", attempt))
	case !state.Ended() && due.IsZero():
		return damaged(fmt.Errorf("%s, and never due", state))
	}
	return nil
}

// notARecord is the error for data that can't be read: of a newer version, or
// damaged.
func notARecord(data []byte, cause error) error {
	var v struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &v); err == nil && v.Version > Version {
		return checkVersion(v.Version)
	}
	return damaged(cause)
}

func damaged(cause error) error { return &damagedError{cause} }

type damagedError struct{ cause error }

// Error shortens the cause: encoding/json may quote all of what it can't read.
func (e *damagedError) Error() string {
	return "damaged lease record: " + messages.Printable(e.cause.Error())
}

func (e *damagedError) Unwrap() error { return e.cause }
