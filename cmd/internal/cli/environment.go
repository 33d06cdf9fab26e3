package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Environment is what a program uses of the process around it, apart from NATS and the
// files that its flags name. It is safe for concurrent use.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	// Terminal reports whether a stream is a terminal; nil: no stream is.
	Terminal func(stream any) bool
	// Program is the name of the program, with which each note begins; "" is "lessor".
	Program string

	notes sync.Mutex // notes come from NATS's goroutines, too
}

// System returns the environment of this process.
func System(program string) *Environment {
	return &Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Terminal: isTerminal,
		Program: program,
	}
}

// isTerminal reports whether a stream is a character device other than the null device.
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

// IsTerminal reports whether a stream of the environment is a terminal.
func (e *Environment) IsTerminal(stream any) bool { return e.Terminal != nil && e.Terminal(stream) }

// Note writes one line to standard error. Line breaks in it become "; ".
func (e *Environment) Note(format string, args ...any) {
	e.notes.Lock()
	defer e.notes.Unlock()
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = fmt.Fprintln(e.Stderr, cmp.Or(e.Program, "lessor")+": "+line) // there is no other place to report the error
}
