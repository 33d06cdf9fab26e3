package cli

import (
	"errors"
	"fmt"

	"github.com/lessorhq/lessor/messages"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1 // the command failed
	ExitUsage  = 2 // the command line is wrong
)

// usageError is an error of the command line, found before the command did anything.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// Usagef returns an error for which [Run] returns ExitUsage.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// FlagError returns a usage error about the value of a flag or an argument. The code of a
// [messages.Error] is left out.
func FlagError(name string, err error) error {
	var e *messages.Error
	if errors.As(err, &e) {
		return Usagef("%s: %s", name, e.Message)
	}
	return Usagef("%s: %w", name, err)
}

// CheckToken returns a usage error if the value of a flag or an argument is not one
// subject token.
func CheckToken(name, value string) error {
	if err := messages.CheckToken(name, value); err != nil {
		return usageError{errors.New(messages.AsError(err).Message)}
	}
	return nil
}
