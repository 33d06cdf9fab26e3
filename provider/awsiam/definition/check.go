package definition

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/lessorhq/lessor/messages"
)

// IAM's limits for users. Only the one of managed policies can be raised, from
// defaultManaged to maxManaged.
const (
	maxGroups      = 10
	defaultManaged = 10
	maxManaged     = 20
	maxPath        = 512
	maxName        = 128 // of a group or a policy
	maxTags        = 50
	maxTagKey      = 128
	maxTagValue    = 256
	maxPolicy      = 2048 // all inline policies of a user, without white space
	maxARN         = 2048
)

var (
	pathGrammar = regexp.MustCompile(`^/([!-~]+/)?$`)
	nameGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]+$`)
)

// Check validates a definition as far as that is possible without a call to AWS. It
// does not check whether groups, policies and roles exist. Empty fields stand for
// their defaults. It returns a [messages.Error] that names the field.
func Check(s messages.DynamicSecret) error {
	region := cmp.Or(s.AWS.Region, "us-east-1")
	partition := PartitionOf(region)
	for _, check := range []func() error{
		func() error { return checkCredentialType(s.AWS.CredentialType) },
		func() error { return checkRegion(region) },
		func() error { return checkType(s, partition) },
		func() error { return checkPath(cmp.Or(s.AWS.Path, messages.DefaultPath)) },
		func() error { return checkBoundary(s.AWS.PermissionsBoundary, partition) },
		func() error { return checkGroups(s.AWS.Groups) },
		func() error { return checkManaged(s.AWS.ManagedPolicies, partition) },
		func() error { return checkInline(s, partition) },
		func() error { return checkAuth(s.AWS.Auth, partition) },
		func() error { return checkTags(s.Tags) },
		func() error { return checkUsername(s) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// wrong returns the error of a field.
func wrong(field, format string, args ...any) error {
	e := messages.Errorf(messages.CodeInvalidSecret, format, args...)
	e.Message = field + ": " + e.Message
	return e
}

// wrongOption returns the error of an option of a generated policy.
func wrongOption(name, format string, args ...any) error {
	e := messages.Errorf(messages.CodeInvalidRequest, format, args...)
	e.Message = name + ": " + e.Message
	return e
}

// index returns the name of an entry of a list.
func index(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func checkCredentialType(t messages.CredentialType) error {
	if t != "" && t != messages.CredentialIAMUser && t != messages.CredentialAssumeRole {
		return wrong("aws.credential_type", "must be %s or %s", messages.CredentialIAMUser, messages.CredentialAssumeRole)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > maxPath {
		return wrong("aws.path", "has %d characters, the limit is %d", len(path), maxPath)
	}
	if !pathGrammar.MatchString(path) {
		return wrong("aws.path", "must be / or begin and end with /, of the characters from ! to ~")
	}
	return nil
}

func checkGroups(groups []string) error {
	if len(groups) > maxGroups {
		return wrong("aws.groups", "has %d entries, the limit is %d", len(groups), maxGroups)
	}
	seen := map[string]bool{}
	for i, g := range groups {
		field := index("aws.groups", i)
		if err := checkName(field, g); err != nil {
			return err
		}
		if seen[strings.ToLower(g)] {
			return wrong(field, "%s is listed twice; IAM ignores case", g)
		}
		seen[strings.ToLower(g)] = true
	}
	return nil
}

// checkName checks the name of a group or a policy.
func checkName(field, name string) error {
	if n := utf8.RuneCountInString(name); n > maxName {
		return wrong(field, "has %d characters, the limit is %d", n, maxName)
	}
	if !nameGrammar.MatchString(name) {
		return wrong(field, "%.40q is not a name: letters, digits and _+=,.@- only", name)
	}
	return nil
}
