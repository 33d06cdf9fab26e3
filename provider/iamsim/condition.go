package iamsim

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// facts are the values of condition keys, by key in lower case.
type facts map[string][]string

func (f facts) set(key string, values ...string) { f[strings.ToLower(key)] = values }

// operator is a parsed condition operator such as ForAnyValue:StringLikeIfExists.
type operator struct {
	match    func(have, want string) bool
	negated  bool
	null     bool
	ifExists bool
	forAll   bool
	forAny   bool
}

var comparisons = map[string]func(have, want string) bool{
	"StringEquals":             func(have, want string) bool { return have == want },
	"StringEqualsIgnoreCase":   strings.EqualFold,
	"StringLike":               glob,
	"ArnEquals":                arnLike,
	"ArnLike":                  arnLike,
	"Bool":                     strings.EqualFold,
	"IpAddress":                inNetwork,
	"DateEquals":               dates(func(order int) bool { return order == 0 }),
	"DateLessThan":             dates(func(order int) bool { return order < 0 }),
	"DateLessThanEquals":       dates(func(order int) bool { return order <= 0 }),
	"DateGreaterThan":          dates(func(order int) bool { return order > 0 }),
	"DateGreaterThanEquals":    dates(func(order int) bool { return order >= 0 }),
	"NumericEquals":            numbers(func(a, b float64) bool { return a == b }),
	"NumericLessThan":          numbers(func(a, b float64) bool { return a < b }),
	"NumericLessThanEquals":    numbers(func(a, b float64) bool { return a <= b }),
	"NumericGreaterThan":       numbers(func(a, b float64) bool { return a > b }),
	"NumericGreaterThanEquals": numbers(func(a, b float64) bool { return a >= b }),
}

// negations are the negated operators.
var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
	"NotIpAddress":              "IpAddress",
	"DateNotEquals":             "DateEquals",
	"NumericNotEquals":          "NumericEquals",
}

// parseOperator parses the name of an operator and reports whether it exists.
func parseOperator(name string) (operator, bool) {
	var op operator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		op.forAll, name = true, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		op.forAny, name = true, rest
	}
	if name == "Null" {
		op.null = true
		return op, true
	}
	name, op.ifExists = strings.CutSuffix(name, "IfExists")
	if positive, ok := negations[name]; ok {
		op.negated, name = true, positive
	}
	var ok bool
	op.match, ok = comparisons[name]
	return op, ok
}

// holds reports whether the operator is met for the values of a key. The values in want are alternatives.
func (op operator) holds(have, want []string) bool {
	if op.null {
		return slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, strconv.FormatBool(len(have) == 0)) })
	}
	if len(have) == 0 {
		return op.ifExists || op.forAll || op.negated && !op.forAny
	}
	met := func(h string) bool {
		return slices.ContainsFunc(want, func(w string) bool { return op.match(h, w) }) != op.negated
	}
	if op.forAny {
		return slices.ContainsFunc(have, met)
	}
	return !slices.ContainsFunc(have, func(h string) bool { return !met(h) })
}

// applies reports whether all conditions of a statement are met.
func (s statement) applies(f facts) bool {
	for name, keys := range s.Condition {
		op, ok := parseOperator(name)
		if !ok {
			return false
		}
		for key, values := range keys {
			want := make([]string, 0, len(values))
			for _, v := range values {
				if v, ok := f.expand(v); ok {
					want = append(want, v)
				}
			}
			if !op.holds(f[strings.ToLower(key)], want) {
				return false
			}
		}
	}
	return true
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// expand replaces policy variables such as ${aws:username}. It returns false if a variable does not have exactly one
// value; the string then matches nothing.
func (f facts) expand(s string) (string, bool) {
	if !strings.Contains(s, "${") {
		return s, true
	}
	ok := true
	s = variable.ReplaceAllStringFunc(s, func(v string) string {
		values := f[strings.ToLower(v[2:len(v)-1])]
		if len(values) != 1 {
			ok = false
			return ""
		}
		return values[0]
	})
	return s, ok
}

// glob reports whether s matches a pattern, in which * matches any characters and ? any single one.
func glob(s, pattern string) bool {
	star, restart := -1, 0 // index of the last * in pattern, and the end of its match in s so far
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, restart = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			restart++
			i, j = restart, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// arnLike compares the six parts of two ARNs. A * matches a colon in the last part only.
func arnLike(have, want string) bool {
	h, w := strings.SplitN(have, ":", 6), strings.SplitN(want, ":", 6)
	if len(h) != 6 || len(w) != 6 {
		return false
	}
	for i := range h {
		if !glob(h[i], w[i]) {
			return false
		}
	}
	return true
}

func inNetwork(have, want string) bool {
	addr, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if prefix, err := netip.ParsePrefix(want); err == nil {
		return prefix.Contains(addr)
	}
	return have == want
}

func dates(ordered func(int) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, herr := parseDate(have)
		w, werr := parseDate(want)
		return herr == nil && werr == nil && ordered(h.Compare(w))
	}
}

// parseDate parses a date in ISO 8601 as policies use it, or in seconds since 1970.
func parseDate(s string) (time.Time, error) {
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 4 {
		return time.Unix(seconds, 0), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	return time.Parse(time.DateOnly, s)
}

func numbers(ordered func(a, b float64) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, herr := strconv.ParseFloat(have, 64)
		w, werr := strconv.ParseFloat(want, 64)
		return herr == nil && werr == nil && ordered(h, w)
	}
}
