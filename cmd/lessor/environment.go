package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for did not work
	exitUsage  = 2 // what was asked for makes no sense
)

// environment is all that the program sees of the world outside NATS and the
// files that its flags name.
type environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	// Terminal says whether a person sits at the other end of a stream; nil:
	// nobody does.
	Terminal func(stream any) bool
	// Suit suits the process to a broker, one with a NATS server that flushes each write
	// or another; nil: it is not this program's alone.
	Suit func(durable bool)

	notes sync.Mutex // NATS reports errors from its own goroutines
}

func systemEnvironment() *environment {
	return &environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Terminal: isTerminal,
		Suit: func(durable bool) { suitProcess(os.Getenv, durable) },
	}
}

// suit is Suit, for environments that have none.
func (e *environment) suit(durable bool) {
	if e.Suit != nil {
		e.Suit(durable)
	}
}

// isTerminal says whether a stream is a terminal: a character device, and not the
// one that stands for nothing.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// hasPerson is Terminal, for environments that have none.
func (e *environment) hasPerson(stream any) bool { return e.Terminal != nil && e.Terminal(stream) }

// note writes a line for the person at the terminal, who may have sent the
// output elsewhere.
func (e *environment) note(format string, args ...any) {
	e.notes.Lock()
	defer e.notes.Unlock()
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = fmt.Fprintln(e.Stderr, "lessor: "+line) // nowhere else to say that this failed
}

// usageError is a command that makes no sense, found before anything was done.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flagError makes err, about the value of a flag or an argument, a usage error
// that names it. The code of an [messages.Error] means nothing there.
func flagError(name string, err error) error {
	var e *messages.Error
	if errors.As(err, &e) {
		return usagef("%s: %s", name, e.Message)
	}
	return usagef("%s: %w", name, err)
}

// checkToken refuses a flag or an argument that is no subject token.
func checkToken(name, value string) error {
	if err := messages.CheckToken(name, value); err != nil {
		return usageError{errors.New(messages.AsError(err).Message)}
	}
	return nil
}

// advice says what to do about a broker's error, as far as it is the person at
// the terminal who can.
var advice = map[messages.Code]string{
	messages.CodeSecretNotFound:      "ask the broker's operator for the secret's name",
	messages.CodeTTLExceedsMax:       "ask for a shorter --ttl",
	messages.CodeTTLBelowMin:         "ask for a longer --ttl",
	messages.CodeSealedRequired:      "add --sealed",
	messages.CodeConfirmRequired:     "leave --confirm on",
	messages.CodeLimitExceeded:       "revoke what is not needed (lessor list), or try again later",
	messages.CodeRateExceeded:        "wait as long as it says",
	messages.CodeDeadlineExceeded:    "try again, or wait longer with --timeout",
	messages.CodeIdempotencyMismatch: "repeat the very same request, or use another --idempotency-key",
	messages.CodeAlreadyDelivered:    "a key is told once: revoke the lease, and use another --idempotency-key",
	messages.CodeLeaseNotFound:       "lessor list shows the leases there are",
	messages.CodeLeaseEnded:          "ask for a new one with lessor request",
	messages.CodeUsernameTaken:       "tell the broker's operator",
	messages.CodeInvalidSecret:       "tell the broker's operator",
	messages.CodeProviderDenied:      "tell the broker's operator",
	messages.CodeProviderRejected:    "tell the broker's operator",
	messages.CodeInvalidReply:        "use an --inbox-prefix that the broker answers on",
	messages.CodeNotRenewable:        "ask for a new one with lessor request",
	messages.CodeSecretDeleting:      "ask the broker's operator for another secret",
	messages.CodeSecretFromFile:      "change or remove its file in the broker's --secrets folder",
	messages.CodeRevisionMismatch:    "read it with lessor secret get, and put it with the --revision that it has now",
	messages.CodeCheckFailed:         "give the broker the rights (lessor policy prints them), or mend its credentials or the definition, or store it untried with --no-check",
}

// operatorsAdvice is what an operator can do where a requester can't.
var operatorsAdvice = map[messages.Code]string{
	messages.CodeSecretNotFound:   "lessor secret list shows those there are",
	messages.CodeSecretDeleting:   "wait until it is gone; lessor secret delete tells how far it is",
	messages.CodeInvalidSecret:    "mend the definition",
	messages.CodeProviderDenied:   "lessor policy prints the rights that the broker needs",
	messages.CodeProviderRejected: "mend the definition, or what it names at AWS",
}

// operatorsError is a broker's error told to an operator.
type operatorsError struct{ error }

func (o operatorsError) Unwrap() error { return o.error }

// explain is what the terminal shows of an error: what happened and what to do
// next.
func explain(err error) string {
	var e *messages.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	next := advice[e.Code]
	var operator operatorsError
	if better := operatorsAdvice[e.Code]; better != "" && errors.As(err, &operator) {
		next = better
	}
	if next == "" && e.Retryable {
		next = "try again later"
	}
	if next == "" {
		return err.Error()
	}
	return err.Error() + "; " + next
}
