package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

const inlineField = "aws.inline_policy"

// policyCharacters matches the characters that IAM accepts in a policy document.
var policyCharacters = regexp.MustCompile(`^[\t\n\r\x{20}-\x{ff}]*$`)

// sidGrammar is IAM's grammar for the ids of statements.
var sidGrammar = regexp.MustCompile(`^[A-Za-z0-9]*$`)

// policyElements are the elements of an identity policy.
var policyElements = []string{"Version", "Id", "Statement"}

// checkInline checks the form and the size of the inline policy. For users, the size
// includes the Deny of the lease's end.
func checkInline(s messages.DynamicSecret, partition string) error {
	if len(s.AWS.InlinePolicy) == 0 {
		return nil
	}
	if err := checkDocument(s.AWS.InlinePolicy, partition); err != nil {
		return err
	}
	if s.AWS.CredentialType == messages.CredentialAssumeRole {
		return checkSessionPolicy(s.AWS.InlinePolicy)
	}
	expiry, included := time.Unix(0, 0), ", the expiry's statement included" // every date has the same length
	if s.HardExpiry == messages.HardExpiryNone {
		expiry, included = time.Time{}, ""
	}
	policy, err := Compose(json.RawMessage(s.AWS.InlinePolicy), expiry)
	if err != nil {
		return wrong(inlineField, "is not a policy document")
	}
	if n := quotaSize(policy); n > maxPolicy {
		return wrong(inlineField, "has %d characters without white space%s; the limit is %d", n, included, maxPolicy)
	}
	return nil
}

// checkDocument checks the form of a policy.
func checkDocument(document []byte, partition string) error {
	if !policyCharacters.Match(document) {
		return wrong(inlineField, "has characters beyond U+00FF, which IAM does not accept; write them as \\u escapes")
	}
	var policy map[string]json.RawMessage
	if json.Unmarshal(document, &policy) != nil || policy == nil {
		return wrong(inlineField, "must be a JSON object")
	}
	if path := duplicateName(json.NewDecoder(bytes.NewReader(document))); path != "" {
		return wrong(inlineField+path, "is used twice")
	}
	if err := checkElements(inlineField, policy, policyElements); err != nil {
		return err
	}
	if v := stringOf(policy["Version"]); v != "2012-10-17" && v != "2008-10-17" {
		return wrong(inlineField+".Version", `must be "2012-10-17" or "2008-10-17", in quotes`)
	}
	if id, ok := policy["Id"]; ok && stringOf(id) == "" {
		return wrong(inlineField+".Id", "must be text")
	}
	list := statementsOf(document)
	if len(list) == 0 {
		return wrong(inlineField+".Statement", "must be a statement or a list of them")
	}
	sids := map[string]bool{}
	for i, statement := range list {
		field := index(inlineField+".Statement", i)
		if err := checkStatement(field, statement, partition); err != nil {
			return err
		}
		if sid := stringOf(statement["Sid"]); sid != "" && sids[sid] {
			return wrong(field+".Sid", "%.40q is used twice", sid)
		} else {
			sids[sid] = true
		}
	}
	return nil
}

// statementsOf returns the statements of a policy, or nil if Statement is neither a
// statement nor a list. A statement that is not an object is nil.
func statementsOf(document []byte) []map[string]json.RawMessage {
	var policy struct{ Statement statements }
	if json.Unmarshal(document, &policy) != nil {
		return nil
	}
	list := make([]map[string]json.RawMessage, len(policy.Statement))
	for i, raw := range policy.Statement {
		_ = json.Unmarshal(raw, &list[i])
	}
	return list
}

// duplicateName returns the path of a name that is used twice in one object, or "".
// IAM refuses such a document, and encoding/json does not report it.
func duplicateName(d *json.Decoder) string {
	t, err := d.Token()
	if err != nil {
		return ""
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			t, _ := d.Token()
			name, _ := t.(string)
			path := duplicateName(d)
			if seen[name] {
				return fmt.Sprintf(".%.40s", name)
			} else if path != "" {
				return fmt.Sprintf(".%.40s%s", name, path)
			}
			seen[name] = true
		}
		_, _ = d.Token()
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if path := duplicateName(d); path != "" {
				return index("", i) + path
			}
		}
		_, _ = d.Token()
	}
	return ""
}

func checkElements(field string, have map[string]json.RawMessage, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if slices.Contains(known, name) {
			continue
		}
		if name == "Principal" || name == "NotPrincipal" {
			return wrong(field, "%s is not allowed in it: the policy applies to the user that has it", name)
		}
		return wrong(field, "%.40q is not an element of it; there are %s", name, strings.Join(known, ", "))
	}
	return nil
}

// stringOf returns a JSON string, or "" if raw is anything else.
func stringOf(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// stringsOf returns a JSON list of strings, or a single string as a list; nil if raw
// is anything else.
func stringsOf(raw json.RawMessage) []string {
	var list []any
	if json.Unmarshal(raw, &list) != nil {
		list = make([]any, 1)
		if json.Unmarshal(raw, &list[0]) != nil {
			return nil
		}
	}
	all := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		all[i] = s
	}
	return all
}
