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

// Environment is all that the program sees of the world outside NATS and the
// files that its flags name.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	// Terminal says whether a person sits at the other end of a stream; nil:
	// nobody does.
	Terminal func(stream any) bool
	// Program is the program's name, which begins each note; "" is "lessor".
	Program string

	notes sync.Mutex // NATS reports errors from its own goroutines
}

func System(program string) *Environment {
	return &Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Terminal: isTerminal,
		Program: program,
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

// HasTerminal is Terminal, for environments that have none.
func (e *Environment) HasTerminal(stream any) bool { return e.Terminal != nil && e.Terminal(stream) }

// Note writes a line for the person at the terminal, who may have sent the
// output elsewhere.
func (e *Environment) Note(format string, args ...any) {
	e.notes.Lock()
	defer e.notes.Unlock()
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = fmt.Fprintln(e.Stderr, cmp.Or(e.Program, "lessor")+": "+line) // nowhere else to say that this failed
}
