package main

import (
	"fmt"
	"strings"
)

// progress is a line that tells a person at a terminal how far something is. It
// is written over as that changes. In a pipe there is none.
type progress struct {
	env *environment
	on  bool
}

func (e *environment) progress() *progress { return &progress{env: e, on: e.hasPerson(e.Stderr)} }

// clearLine moves to the beginning of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

func (p *progress) show(format string, args ...any) {
	p.write(clearLine + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// end takes the line away.
func (p *progress) end() { p.write(clearLine) }

func (p *progress) write(text string) {
	if !p.on {
		return
	}
	p.env.notes.Lock()
	defer p.env.notes.Unlock()
	_, _ = fmt.Fprint(p.env.Stderr, text) // nowhere else to say that this failed
}
