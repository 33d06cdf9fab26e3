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

// Template makes user names. It is text with actions in double braces:
//
//	ci-{{truncate identity.name 16}}-{{random 12}}
//	{{lowercase (replace dynamicSecret.name "[^a-z]" "")}}-{{randomUsername}}
//
// The variables are
//
//	identity.name       who asked
//	dynamicSecret.name  the dynamic secret
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
// IAM takes user names that differ only in case for the same. Letters and
// digits are drawn from 62, so as far as collisions go each is worth one of 36.
type Template struct {
	parsed *template.Template
}

// Data is what a user name is made of.
type Data struct {
	Identity string
	Secret   string // the dynamic secret's name
	Type     string // the dynamic secret's credential type
	Now      time.Time
	Rand     io.Reader // crypto/rand.Reader, unless in a test
}

// Parse reads a template. The error says what is wrong and what is
// allowed, and is safe to show.
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
	// A number out of range, a bad pattern or a missing argument shows only
	// when the template is used.
	if _, err := t.Render(specimen()); err != nil {
		return nil, err
	}
	return t, nil
}

// Render makes a name. It does not know which names the system takes. The error
// is safe to show; it comes when Rand fails, or for data with which the template
// breaks a limit that it kept when it was parsed.
func (t *Template) Render(d Data) (string, error) { return t.renderer()(d) }

// renderer returns a Render for one name after another; it is made ready once.
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

// limitedBuffer takes maxRendered bytes.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

// bare is an error's text without text/template's account of the place.
func bare(err error) string {
	if e, ok := errors.AsType[template.ExecError](err); ok {
		err = e.Err
	}
	// "error calling random: …" wraps what a function said.
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

// isPosition says whether s is a line, or a line and a column.
func isPosition(s string) bool {
	for part := range strings.SplitSeq(s, ":") {
		if _, err := strconv.Atoi(part); err != nil {
			return false
		}
	}
	return true
}
