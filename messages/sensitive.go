package messages

import (
	"encoding/json"
	"fmt"
)

const redacted = "[redacted]"

// Sensitive is a secret value. Formatters, JSON encoders and loggers print it as
// "[redacted]"; only [Sensitive.Reveal] returns the value. The zero Sensitive is empty.
type Sensitive struct {
	// A pointer, because fmt does not call the methods of a value in an unexported
	// field and prints its fields.
	value *string
}

// NewSensitive returns a Sensitive with the value.
func NewSensitive(value string) Sensitive {
	if value == "" {
		return Sensitive{}
	}
	return Sensitive{value: &value}
}

// Reveal returns the secret value. Call it only to send the value or to pass it to its
// owner.
func (s Sensitive) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether s is empty.
func (s Sensitive) IsZero() bool { return s.value == nil }

// String returns "[redacted]".
func (s Sensitive) String() string { return redacted }

// Format prints "[redacted]" for every verb and flag.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON encodes "[redacted]".
func (s Sensitive) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText encodes "[redacted]".
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalJSON decodes the value from a string.
func (s *Sensitive) UnmarshalJSON(data []byte) error {
	var v string
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*s = NewSensitive(v)
	return nil
}
