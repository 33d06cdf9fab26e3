package iamsim

import "testing"

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		s, pattern string
		want       bool
	}{
		{"", "", true}, {"", "*", true}, {"a", "", false}, {"abc", "abc", true}, {"abc", "ab", false}, {"ab", "abc", false},
		{"abc", "a*", true}, {"abc", "*c", true}, {"abc", "a*c", true}, {"abc", "a?c", true}, {"ac", "a?c", false},
		{"abcbc", "a*bc", true}, {"abcbd", "a*bc", false}, {"aab", "*ab", true}, {"abc", "**", true}, {"a*c", "a*c", true}, {"abc", "a*b?*", true},
	} {
		if got := glob(test.s, test.pattern); got != test.want {
			t.Errorf("glob(%q, %q) = %v", test.s, test.pattern, got)
		}
	}
}

// Each kind of operator has values that match, values that do not, and absent values.
func TestConditionOperators(t *testing.T) {
	one := func(s string) []string { return []string{s} }
	for _, test := range []struct {
		operator   string
		have, want []string
		holds      bool
	}{
		{"StringEquals", one("a"), []string{"b", "a"}, true},
		{"StringEquals", one("a"), one("A"), false},
		{"StringEquals", nil, one("a"), false},
		{"StringEqualsIfExists", nil, one("a"), true},
		{"StringEqualsIfExists", one("b"), one("a"), false},
		{"StringNotEquals", one("a"), []string{"b", "a"}, false},
		{"StringNotEquals", one("c"), []string{"b", "a"}, true},
		{"StringNotEquals", nil, one("a"), true},
		{"StringEqualsIgnoreCase", one("a"), one("A"), true},
		{"StringNotEqualsIgnoreCase", one("a"), one("A"), false},
		{"StringLike", one("abc"), one("a*"), true},
		{"StringEquals", one("abc"), one("a*"), false},
		{"StringNotLike", one("abc"), one("a*"), false},
		{"ArnLike", one("arn:aws:iam::1:user/a"), one("arn:aws:iam::*:user/?"), true},
		{"ArnEquals", one("arn:aws:iam::1:user/a"), one("arn:*:user/a"), false},
		{"ArnNotLike", one("arn:aws:iam::1:user/a"), one("arn:aws:iam::2:user/*"), true},
		{"DateLessThan", one("2026-01-01T00:00:00Z"), one("2026-01-01T00:00:00.001Z"), true},
		{"DateLessThan", one("2026-01-01T00:00:00Z"), one("2026-01-01T00:00:00Z"), false},
		{"DateLessThanEquals", one("2026-01-01T00:00:00Z"), one("2026-01-01"), true},
		{"DateGreaterThan", one("2026-01-01T00:00:01Z"), one("2026-01-01T01:00:00+01:00"), true},
		{"DateGreaterThanEquals", one("2026-01-01T00:00:00Z"), one("1767225600"), true},
		{"DateEquals", one("2026-01-01T00:00:00Z"), one("2026-01-01"), true},
		{"DateNotEquals", one("2026-01-01T00:00:00Z"), one("2026-01-01"), false},
		{"DateGreaterThan", one("2026-01-01T00:00:00Z"), one("yesterday"), false},
		{"NumericLessThan", one("1"), one("2"), true},
		{"NumericGreaterThanEquals", one("1"), one("2"), false},
		{"NumericNotEquals", one("1"), one("1.0"), false},
		{"Bool", one("true"), one("True"), true},
		{"Bool", nil, one("false"), false},
		{"Null", nil, one("true"), true},
		{"Null", one("x"), one("true"), false},
		{"Null", one("x"), one("false"), true},
		{"IpAddress", one("10.1.2.3"), one("10.0.0.0/8"), true},
		{"NotIpAddress", one("10.1.2.3"), one("10.0.0.0/8"), false},
		{"IpAddress", one("10.1.2.3"), one("10.1.2.3"), true},
		{"ForAllValues:StringEquals", []string{"a", "b"}, []string{"a", "b", "c"}, true},
		{"ForAllValues:StringEquals", []string{"a", "d"}, []string{"a", "b", "c"}, false},
		{"ForAllValues:StringEquals", nil, one("a"), true},
		{"ForAnyValue:StringEquals", []string{"a", "d"}, []string{"a", "b"}, true},
		{"ForAnyValue:StringEquals", []string{"c", "d"}, []string{"a", "b"}, false},
		{"ForAnyValue:StringEquals", nil, one("a"), false},
		{"ForAnyValue:StringNotEquals", nil, one("a"), false},
	} {
		op, ok := parseOperator(test.operator)
		if !ok {
			t.Errorf("there is no operator %s", test.operator)
		} else if got := op.holds(test.have, test.want); got != test.holds {
			t.Errorf("%s %v %v: %v", test.operator, test.have, test.want, got)
		}
	}
	for _, name := range []string{"", "StringEqual", "stringequals", "StringNotNotEquals", "ForEach:StringEquals", "NullIfExists"} {
		if _, ok := parseOperator(name); ok {
			t.Errorf("%q is accepted as an operator", name)
		}
	}
}
