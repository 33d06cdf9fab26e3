package cli

import (
	"fmt"
	"strings"
)

// Progress is one line on a terminal that shows how far a command is. Each Show replaces
// the line. If standard error is no terminal, it writes nothing.
type Progress struct {
	env      *Environment
	terminal bool
}

// Progress returns the progress line of standard error.
func (e *Environment) Progress() *Progress {
	return &Progress{env: e, terminal: e.IsTerminal(e.Stderr)}
}

// clearLine moves a terminal's cursor to the begin of the line and empties the line.
const clearLine = "\r\x1b[K"

// Show replaces the line.
func (p *Progress) Show(format string, args ...any) {
	p.write(clearLine + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// Clear removes the line.
func (p *Progress) Clear() { p.write(clearLine) }

func (p *Progress) write(text string) {
	if !p.terminal {
		return
	}
	p.env.notes.Lock()
	defer p.env.notes.Unlock()
	_, _ = fmt.Fprint(p.env.Stderr, text) // there is no other place to report the error
}
