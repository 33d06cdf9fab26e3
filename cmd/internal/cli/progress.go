package cli

import (
	"fmt"
	"strings"
)

// Progress is a line that tells a person at a terminal how far something is. It
// is written over as that changes. In a pipe there is none.
type Progress struct {
	env *Environment
	on  bool
}

// clearLine moves to the beginning of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

func (p *Progress) Show(format string, args ...any) {
	p.write(clearLine + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// Clear takes the line away.
func (p *Progress) Clear() { p.write(clearLine) }

func (p *Progress) write(text string) {
	if !p.on {
		return
	}
	p.env.notes.Lock()
	defer p.env.notes.Unlock()
	_, _ = fmt.Fprint(p.env.Stderr, text) // nowhere else to say that this failed
}

func (e *Environment) Progress() *Progress { return &Progress{env: e, on: e.HasTerminal(e.Stderr)} }
