package definition

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// statementElements are the elements of a statement of an identity policy.
var statementElements = []string{"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}

// actionGrammar matches "*", or a service and an action, which may have wildcards.
var actionGrammar = regexp.MustCompile(`^(\*|(\*|[A-Za-z0-9-]+):[A-Za-z0-9_*?-]+)$`)

func checkStatement(field string, s map[string]json.RawMessage, partition string) error {
	if s == nil {
		return wrong(field, "must be a JSON object")
	}
	if err := checkElements(field, s, statementElements); err != nil {
		return err
	}
	if sid, ok := s["Sid"]; ok && (sid[0] != '"' || !sidGrammar.MatchString(stringOf(sid))) {
		return wrong(field+".Sid", "must be text of letters and digits")
	}
	if e := stringOf(s["Effect"]); e != "Allow" && e != "Deny" {
		return wrong(field+".Effect", "must be Allow or Deny")
	}
	if err := checkEither(field, s, "Action", checkAction); err != nil {
		return err
	}
	if err := checkEither(field, s, "Resource", func(field, v string) error { return checkResource(field, v, partition) }); err != nil {
		return err
	}
	if c, ok := s["Condition"]; ok {
		return checkCondition(field+".Condition", c)
	}
	return nil
}

// checkEither checks an element of which there must be either name or Notname.
func checkEither(field string, s map[string]json.RawMessage, name string, check func(field, value string) error) error {
	values, is := s[name]
	notValues, not := s["Not"+name]
	if is == not {
		return wrong(field, "must have either %s or Not%s", name, name)
	}
	if not {
		name, values = "Not"+name, notValues
	}
	list := stringsOf(values)
	if len(list) == 0 {
		return wrong(field+"."+name, "must be text or a list of texts, and not empty")
	}
	for _, v := range list {
		if err := check(field+"."+name, v); err != nil {
			return err
		}
	}
	return nil
}

func checkAction(field, action string) error {
	if !actionGrammar.MatchString(action) {
		return wrong(field, `%.40q is neither "*" nor of the form service:action`, action)
	}
	return nil
}

// checkResource checks an ARN. A wildcard may stand for several of its parts.
func checkResource(field, arn, partition string) error {
	if arn == "*" {
		return nil
	}
	parts := strings.SplitN(arn, ":", 6)
	if parts[0] != "arn" || len(parts) < 6 && !strings.ContainsAny(arn, "*?") {
		return wrong(field, `%.80q is neither "*" nor an ARN, such as arn:%s:s3:::bucket/*`, arn, partition)
	}
	if p := parts[1]; p != partition && !strings.ContainsAny(p, "*?$") {
		return wrong(field, "%.80q is in the partition %.20q, but the region is in %s", arn, p, partition)
	}
	if begin := strings.LastIndex(arn, "${"); begin >= 0 && !strings.Contains(arn[begin:], "}") {
		return wrong(field, "%.80q has a variable without its }", arn)
	}
	return nil
}

// operators are the operators of conditions, without the suffix IfExists and the
// prefixes ForAllValues and ForAnyValue.
var operators = strings.Fields(`StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike StringNotLike
	NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals NumericGreaterThan NumericGreaterThanEquals
	DateEquals DateNotEquals DateLessThan DateLessThanEquals DateGreaterThan DateGreaterThanEquals
	Bool BinaryEquals IpAddress NotIpAddress ArnEquals ArnLike ArnNotEquals ArnNotLike Null`)

func checkCondition(field string, raw json.RawMessage) error {
	var condition map[string]map[string]any
	if json.Unmarshal(raw, &condition) != nil || condition == nil {
		return wrong(field, "must be an object of operators with their keys")
	}
	for _, operator := range slices.Sorted(maps.Keys(condition)) {
		if !isOperator(operator) {
			return wrong(field, "%.40q is not an operator, such as StringEquals", operator)
		}
		for _, key := range slices.Sorted(maps.Keys(condition[operator])) {
			if !strings.Contains(key, ":") {
				return wrong(field+"."+operator, "%.40q is not a key, such as aws:SourceIp", key)
			}
			if !isConditionValue(condition[operator][key]) {
				return wrong(field+"."+operator, "%.40q must have a value, or a list of values", key)
			}
		}
	}
	return nil
}

func isOperator(name string) bool {
	for _, quantifier := range []string{"ForAllValues:", "ForAnyValue:"} {
		if len(name) > len(quantifier) && strings.EqualFold(name[:len(quantifier)], quantifier) {
			name = name[len(quantifier):]
			break
		}
	}
	const suffix = "IfExists"
	if i := len(name) - len(suffix); i > 0 && strings.EqualFold(name[i:], suffix) && !strings.EqualFold(name[:i], "Null") {
		name = name[:i]
	}
	return slices.ContainsFunc(operators, func(o string) bool { return strings.EqualFold(o, name) })
}

func isConditionValue(value any) bool {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	return !slices.ContainsFunc(list, func(v any) bool {
		switch v.(type) {
		case string, bool, float64:
			return false
		}
		return true
	})
}
