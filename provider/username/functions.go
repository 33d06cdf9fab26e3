package username

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"
)

// Limits of the functions.
const (
	maxRandom   = 100 // characters of one random
	maxTruncate = 255 // characters that truncate may leave
	maxWith     = 255 // bytes of a replacement text
	// maxPattern is the number of instructions of a compiled pattern. Replacing all
	// matches may take that many steps times the square of the string's length: at most a
	// tenth of a second with these limits.
	maxPattern  = 200
	maxPatterns = 32 // compiled patterns that are cached
)

var errTooLong = fmt.Errorf("becomes longer than %d characters", maxRendered)

// functionError is the error of one of the template's functions. It is safe to show.
type functionError struct{ text string }

func (e *functionError) Error() string { return e.text }

func functionErrorf(format string, args ...any) error {
	return &functionError{fmt.Sprintf(format, args...)}
}

// functions returns the variables and functions of a template. They read d when they are
// called.
func (d *Data) functions() template.FuncMap {
	patterns := patterns{}
	return template.FuncMap{
		"identity": func() map[string]string { return map[string]string{"name": d.Identity} },
		"dynamicSecret": func() map[string]string {
			return map[string]string{"name": d.Secret, "type": d.Type}
		},
		"randomUsername": func() (string, error) { return randomCharacters(d.Rand, 32) },
		"unixTimestamp":  func() string { return strconv.FormatInt(d.Now.Unix(), 10) },
		"random": func(n int) (string, error) {
			if n < 1 || n > maxRandom {
				return "", functionErrorf("random takes a number from 1 to %d, not %d", maxRandom, n)
			}
			return randomCharacters(d.Rand, n)
		},
		"truncate":  truncate,
		"replace":   patterns.replace,
		"uppercase": func(s string) (string, error) { return bounded(strings.ToUpper(s)) },
		"lowercase": func(s string) (string, error) { return bounded(strings.ToLower(s)) },
	}
}

const lettersAndDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomCharacters returns n letters and digits, which are uniformly distributed: bytes
// beyond the largest multiple of 62 are dropped.
func randomCharacters(source io.Reader, n int) (string, error) {
	const fair = 256 - 256%len(lettersAndDigits)
	out := make([]byte, 0, n)
	buf := make([]byte, n)
	// One byte in 32 is dropped: a source that needs this many rounds is broken.
	for range 100 {
		if _, err := io.ReadFull(source, buf); err != nil {
			return "", functionErrorf("the source of randomness fails")
		}
		for _, b := range buf {
			if int(b) < fair && len(out) < n {
				out = append(out, lettersAndDigits[int(b)%len(lettersAndDigits)])
			}
		}
		if len(out) == n {
			return string(out), nil
		}
	}
	return "", functionErrorf("the source of randomness fails")
}

func truncate(s string, n int) (string, error) {
	if n < 0 || n > maxTruncate {
		return "", functionErrorf("truncate takes a number from 0 to %d, not %d", maxTruncate, n)
	}
	end := 0
	for range n {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	return s[:end], nil
}

// patterns caches compiled patterns, most of which are constant in a template.
type patterns map[string]*regexp.Regexp

// replace is regexp's ReplaceAllString with a limit on the result.
func (p patterns) replace(s, pattern, with string) (string, error) {
	if len(with) > maxWith {
		return "", functionErrorf("replace takes a replacement of up to %d characters", maxWith)
	}
	re, ok := p[pattern]
	if !ok {
		var err error
		if re, err = compile(pattern); err != nil {
			return "", err
		}
		if len(p) < maxPatterns {
			p[pattern] = re
		}
	}
	var out []byte
	end := 0
	for _, match := range re.FindAllStringSubmatchIndex(s, -1) {
		out = append(out, s[end:match[0]]...)
		out = re.ExpandString(out, with, s, match)
		end = match[1]
		if len(out) > maxRendered {
			return "", errTooLong
		}
	}
	return bounded(string(append(out, s[end:]...)))
}

func compile(pattern string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		reason := err.Error()
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			reason = e.Code.String()
		}
		return nil, functionErrorf("replace's pattern is not an RE2 expression: %s", reason)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxPattern {
		return nil, functionErrorf("replace's pattern is too large")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, functionErrorf("replace's pattern is not an RE2 expression")
	}
	return re, nil
}

// bounded returns s, or an error if it is too long.
func bounded(s string) (string, error) {
	if len(s) > maxRendered {
		return "", errTooLong
	}
	return s, nil
}

// specimen returns the data with which a parsed template is tested.
func specimen() Data {
	return Data{
		Identity: "identity",
		Secret:   "secret",
		Type:     "iam_user",
		Now:      time.Unix(1_700_000_000, 0),
		Rand:     rand.NewChaCha8([32]byte{1}),
	}
}
