package awsiam

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

const inlineField = "aws.inline_policy"

// policyCharacters is what IAM takes in a policy document.
var policyCharacters = regexp.MustCompile(`^[\t\n\r\x{20}-\x{ff}]*$`)

// The elements of an identity policy.
var (
	policyElements    = []string{"Version", "Id", "Statement"}
	statementElements = []string{"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)

// checkInline checks the form of the inline policy, and its size: for users together
// with the expiry's Deny.
func checkInline(s messages.DynamicSecret) error {
	if len(s.AWS.InlinePolicy) == 0 {
		return nil
	}
	if !policyCharacters.Match(s.AWS.InlinePolicy) {
		return wrong(inlineField, "has characters beyond U+00FF, which IAM does not take; write them as \\u escapes")
	}
	if err := checkDocument(s.AWS.InlinePolicy); err != nil {
		return err
	}
	if s.AWS.CredentialType == messages.CredentialAssumeRole {
		return checkSessionPolicy(s.AWS.InlinePolicy)
	}
	expiry := time.Unix(0, 0) // every date is of the same length
	if s.HardExpiry == messages.HardExpiryNone {
		expiry = time.Time{}
	}
	policy, err := compose(json.RawMessage(s.AWS.InlinePolicy), expiry)
	if err != nil {
		return wrong(inlineField, "is not a policy document")
	}
	if n := quotaSize(policy); n > maxPolicy {
		return wrong(inlineField, "has %d characters without white space, the expiry's statement included; the limit is %d", n, maxPolicy)
	}
	return nil
}

func checkDocument(document []byte) error {
	var policy map[string]json.RawMessage
	if json.Unmarshal(document, &policy) != nil {
		return wrong(inlineField, "must be a JSON object")
	}
	if err := checkElements(inlineField, policy, policyElements); err != nil {
		return err
	}
	if v := stringOf(policy["Version"]); v != "2012-10-17" && v != "2008-10-17" {
		return wrong(inlineField+".Version", `must be "2012-10-17" or "2008-10-17"`)
	}
	if id, ok := policy["Id"]; ok && stringOf(id) == "" {
		return wrong(inlineField+".Id", "must be a string")
	}
	var list statements
	if json.Unmarshal(policy["Statement"], &list) != nil || len(list) == 0 {
		return wrong(inlineField+".Statement", "must be a statement or a list of them")
	}
	sids := map[string]bool{}
	for i, raw := range list {
		field := index(inlineField+".Statement", i)
		var statement map[string]json.RawMessage
		if json.Unmarshal(raw, &statement) != nil || statement == nil {
			return wrong(field, "must be a JSON object")
		}
		if err := checkStatement(field, statement); err != nil {
			return err
		}
		if sid := stringOf(statement["Sid"]); sid != "" && sids[sid] {
			return wrong(field+".Sid", "%.40q is there twice", sid)
		} else {
			sids[sid] = true
		}
	}
	return nil
}

func checkStatement(field string, s map[string]json.RawMessage) error {
	if err := checkElements(field, s, statementElements); err != nil {
		return err
	}
	if e := stringOf(s["Effect"]); e != "Allow" && e != "Deny" {
		return wrong(field+".Effect", "must be Allow or Deny")
	}
	if err := checkEither(field, s, "Action", "service:action"); err != nil {
		return err
	}
	if err := checkEither(field, s, "Resource", "arn:…"); err != nil {
		return err
	}
	if c, ok := s["Condition"]; ok {
		var condition map[string]map[string]any
		if json.Unmarshal(c, &condition) != nil {
			return wrong(field+".Condition", "must be an object of operators with their keys")
		}
	}
	return nil
}

// checkEither checks an element that is there either as itself or with Not.
func checkEither(field string, s map[string]json.RawMessage, name, form string) error {
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
		return wrong(field+"."+name, "must be a string or a list of them")
	}
	for _, v := range list {
		if v != "*" && !strings.Contains(v, ":") {
			return wrong(field+"."+name, `%.40q is neither "*" nor of the form %s`, v, form)
		}
	}
	return nil
}

func checkElements(field string, have map[string]json.RawMessage, known []string) error {
	for name := range have {
		if !slices.Contains(known, name) {
			return wrong(field, "%.40q is not an element of it; there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// stringOf is a JSON string, or "" if it is something else.
func stringOf(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// stringsOf is a JSON list of strings, or a single one; nil if it is something
// else.
func stringsOf(raw json.RawMessage) []string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return []string{s}
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}
