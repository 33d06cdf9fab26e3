package secrets

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestMayPut(t *testing.T) {
	none := entry{revision: 0}
	deleted := entry{revision: 7}
	operators := entry{raw: []byte("{}"), revision: 7}
	file := entry{raw: []byte("{}"), revision: 7, stored: stored{Source: SourceFile}}
	deleting := entry{raw: []byte("{}"), revision: 7, stored: stored{Deleting: true}}
	at := func(revision uint64) *uint64 { return &revision }
	for _, c := range []struct {
		name     string
		have     entry
		source   string
		revision *uint64
		code     messages.Code // "" if it may be put
		want     string        // in the message
	}{
		{"a new one", none, "", nil, "", ""},
		{"a new one, and it must be new", none, "", at(0), "", ""},
		{"after a deletion, and it must be new", deleted, "", at(0), "", ""},
		{"after a deletion, at the deletion's revision", deleted, "", at(7), messages.CodeRevisionMismatch, "there is no dynamic secret"},
		{"over one, at any revision", operators, "", nil, "", ""},
		{"over one, at its revision", operators, "", at(7), "", ""},
		{"over one, at another revision", operators, "", at(6), messages.CodeRevisionMismatch, "at revision 7, and 6 was expected"},
		{"over one, and it must be new", operators, "", at(0), messages.CodeRevisionMismatch, "exists already"},
		{"from a file over an operator's", operators, SourceFile, nil, "", ""},
		{"from a file over a file's", file, SourceFile, nil, "", ""},
		{"by an operator over a file's", file, "", nil, messages.CodeSecretFromFile, "change it there"},
		{"while it is being deleted", deleting, "", nil, messages.CodeSecretDeleting, "is being deleted"},
	} {
		err := mayPut("ci", c.have, c.source, c.revision)
		if c.code == "" && err != nil || c.code != "" && (!messages.IsCode(err, c.code) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q %q", c.name, err, c.code, c.want)
		}
	}
}
