package cli

import (
	"errors"
	"fmt"

	"github.com/lessorhq/lessor/messages"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // what was asked for did not work
	ExitUsage  = 2 // what was asked for makes no sense
)

// usageError is a command that makes no sense, found before anything was done.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// FlagError makes err, about the value of a flag or an argument, a usage error
// that names it. The code of an [messages.Error] means nothing there.
func FlagError(name string, err error) error {
	var e *messages.Error
	if errors.As(err, &e) {
		return Usagef("%s: %s", name, e.Message)
	}
	return Usagef("%s: %w", name, err)
}

// CheckToken refuses a flag or an argument that is no subject token.
func CheckToken(name, value string) error {
	if err := messages.CheckToken(name, value); err != nil {
		return usageError{errors.New(messages.AsError(err).Message)}
	}
	return nil
}
