package messages

import (
	"encoding/json"
	"fmt"
)

const redacted = "[redacted]"

// Sensitive is a secret value. It prints as "[redacted]" in every formatter, in
// JSON and in logs; [Sensitive.Reveal] is the one way to its contents. Its zero
// value holds nothing.
type Sensitive struct {
	// A pointer, because fmt prints the fields of a value that hides in
	// somebody's unexported field without asking its methods.
	value *string
}

// NewSensitive wraps a secret value.
func NewSensitive(value string) Sensitive {
	if value == "" {
		return Sensitive{}
	}
	return Sensitive{value: &value}
}

// Reveal returns the secret value. Call it only where the value is put on the
// wire or in the hands of its owner.
func (s Sensitive) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero says whether there is no value.
func (s Sensitive) IsZero() bool { return s.value == nil }

// String returns "[redacted]".
func (s Sensitive) String() string { return redacted }

// Format prints "[redacted]" for every verb and flag.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON writes "[redacted]".
func (s Sensitive) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText writes "[redacted]".
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalJSON reads the value from a string.
func (s *Sensitive) UnmarshalJSON(data []byte) error {
	var v string
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = NewSensitive(v)
	return nil
}
