package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Row writes a line of a table, unless its value is empty. The table's Flush returns the
// error, if there is one.
func Row(w io.Writer, name, value string) {
	if value != "" {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, value)
	}
}

// Until returns a time and how far it is from now, or "" for the zero time.
func Until(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	stamp := t.UTC().Format(time.RFC3339)
	d := t.Sub(now).Round(time.Second)
	if d == 0 {
		return stamp + " (now)"
	}
	if d < 0 {
		return fmt.Sprintf("%s (%s ago)", stamp, messages.Duration(-d))
	}
	return fmt.Sprintf("%s (in %s)", stamp, messages.Duration(d))
}

// OneLine returns a text with "; " for each line break.
func OneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// OrDash returns the text, or "-" if it is empty.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// WriteReply writes a reply as it is on the wire, and a line break.
func WriteReply(w io.Writer, r messages.Reply) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}
