// Package username makes the names of IAM users and sessions from templates.
//
// [Parse] reads a template. [Template.Render] makes a name, with randomness from
// [Data]. A definition is checked with [Template.CheckNames], which renders the
// template for many identities so that the caller can check each name, and with
// [Template.CheckUnique], which makes sure that enough of the random part shows for no
// two names to be the same. [Template.Texts] returns the literal texts.
//
// Templates are written by operators. They are restricted so that rendering one takes
// little time and memory.
package username

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"
)

// Limits of user name templates, in characters.
const (
	maxTemplate = 255 // the template itself
	maxRendered = 512 // a rendered name, and every string on the way to it
)

// Template is a template of names: text with actions in double braces.
//
//	ci-{{truncate identity.name 16}}-{{random 12}}
//	{{lowercase (replace dynamicSecret.name "[^a-z]" "")}}-{{randomUsername}}
//
// The variables are
//
//	identity.name       the requester
//	dynamicSecret.name  the name of the dynamic secret
//	dynamicSecret.type  its credential type, such as iam_user
//	randomUsername      32 random letters and digits
//	unixTimestamp       seconds since 1970
//
// and the functions
//
//	random N                   N random letters and digits, 1 to 100
//	truncate s N               the first N characters of s, 0 to 255
//	replace s pattern with     s with every match of the RE2 pattern replaced; $1 is its first group
//	uppercase s, lowercase s
//
// An argument is a variable, a string in double or back quotes, a whole number,
// or a call in parentheses. A value may be piped into a function as its last
// argument. Nothing else of text/template is allowed: no loops, conditions,
// variables or nested templates.
//
// IAM ignores the case of user names. A random character is one of 62 letters and
// digits, so that it counts as one of 36 where collisions are concerned.
type Template struct {
	parsed *template.Template
}

// Data is the input of a template.
type Data struct {
	Identity string
	Secret   string // the dynamic secret's name
	Type     string // the dynamic secret's credential type
	Now      time.Time
	Rand     io.Reader // the source of randomness, such as crypto/rand.Reader
}

// Parse reads a template. Its error states what is wrong and what is allowed, and is
// safe to show to operators.
func Parse(text string) (*Template, error) {
	if n := utf8.RuneCountInString(text); n > maxTemplate {
		return nil, fmt.Errorf("has %d characters, the limit is %d", n, maxTemplate)
	}
	parsed, err := template.New("").Funcs(new(Data).functions()).Parse(text)
	if err != nil && strings.Contains(err.Error(), "malformed character constant") {
		err = errQuotes
	}
	if err != nil {
		return nil, fmt.Errorf("%s; %s", bare(err), allowed)
	}
	if err := checkTemplate(parsed); err != nil {
		return nil, fmt.Errorf("%w; %s", err, allowed)
	}
	t := &Template{parsed: parsed}
	// A number out of range, a malformed pattern or a missing argument is reported only
	// when the template is rendered.
	if _, err := t.Render(specimen()); err != nil {
		return nil, err
	}
	return t, nil
}

// Render returns a name. It does not know which names are valid. It returns an error if
// Rand fails, or if the data make an intermediate string too long; the error is safe to
// show.
func (t *Template) Render(d Data) (string, error) { return t.renderer()(d) }

// renderer returns a function that renders one name after another. It must not be called
// concurrently.
func (t *Template) renderer() func(Data) (string, error) {
	var current Data
	own, err := t.parsed.Clone()
	if err == nil {
		own.Funcs(current.functions())
	}
	return func(d Data) (string, error) {
		if err != nil {
			return "", fmt.Errorf("can't be rendered: %s", bare(err))
		}
		current = d
		var out limitedBuffer
		if err := own.Execute(&out, nil); err != nil {
			return "", fmt.Errorf("can't be rendered: %s", bare(err))
		}
		return out.String(), nil
	}
}

// limitedBuffer accepts up to maxRendered bytes.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

// bare returns the text of an error without the position that text/template adds.
func bare(err error) string {
	if e, ok := errors.AsType[template.ExecError](err); ok {
		err = e.Err
	}
	// text/template adds "error calling random: …".
	if inner, ok := errors.AsType[*functionError](err); ok {
		return inner.Error()
	}
	if errors.Is(err, errTooLong) {
		return errTooLong.Error()
	}
	s := err.Error()
	// "template: :1:2: executing "" at <random>: …", "template: :1: …"
	if rest, ok := strings.CutPrefix(s, "template: :"); ok {
		if line, rest, ok := strings.Cut(rest, ": "); ok && isPosition(line) {
			s = rest
		}
	}
	if at := strings.Index(s, "> "); strings.HasPrefix(s, "executing ") && at > 0 {
		s = s[at+2:]
	}
	if _, rest, ok := strings.Cut(s, ">: "); ok && strings.HasPrefix(s, "executing ") {
		s = rest
	}
	return s
}

// isPosition reports whether s is a line, or a line and a column.
func isPosition(s string) bool {
	for part := range strings.SplitSeq(s, ":") {
		if _, err := strconv.Atoi(part); err != nil {
			return false
		}
	}
	return true
}
