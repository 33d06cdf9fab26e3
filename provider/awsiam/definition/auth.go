package definition

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

// Limits of the fields of aws.auth
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html,
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html).
const (
	maxRoleName    = 64
	minExternalID  = 2
	maxExternalID  = 1224
	minAccessKeyID = 16
	maxAccessKeyID = 128
	maxSecretKey   = 128
)

var (
	// arn:<partition>:iam::<account>:role/<path/><name>
	roleARN           = regexp.MustCompile(`^arn:([a-z0-9-]+):iam::([0-9]{12}):role(/(?:[!-~]+/)?)([^/]+)$`)
	externalIDGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)
	keyIDGrammar      = regexp.MustCompile(`^[A-Z0-9_]+$`)
	secretGrammar     = regexp.MustCompile(`^[!-~]+$`)
)

// authMethods are the methods and the fields that each allows; true marks required
// fields. external_id is also allowed with assume_role_arn.
var authMethods = []struct {
	method messages.AuthMethod
	fields map[string]bool
}{
	{messages.AuthDefault, nil},
	{messages.AuthAssumeRole, map[string]bool{"role_arn": true, "external_id": false}},
	{messages.AuthIRSA, map[string]bool{"role_arn": false, "assume_role_arn": false}},
	{messages.AuthPodIdentity, map[string]bool{"assume_role_arn": false}},
	// The secret is optional, because it may be stored already: it is never shown, so
	// an operator who changes the definition cannot send it again.
	{messages.AuthAccessKey, map[string]bool{"access_key_id": true, "secret_access_key": false}},
}

func checkAuth(a messages.Auth, partition string) error {
	method := cmp.Or(a.Method, messages.AuthDefault)
	var known []string
	for _, m := range authMethods {
		if m.method == method {
			return checkAuthFields(a, method, m.fields, partition)
		}
		known = append(known, string(m.method))
	}
	return wrong("aws.auth.method", "must be one of %s", strings.Join(known, ", "))
}

func checkAuthFields(a messages.Auth, method messages.AuthMethod, fields map[string]bool, partition string) error {
	const auth = "aws.auth."
	for _, f := range []struct {
		name  string
		given bool
		check func(field string) error
	}{
		{"role_arn", a.RoleARN != "", func(field string) error { return checkRoleARN(field, a.RoleARN, partition) }},
		{"assume_role_arn", a.AssumeRoleARN != "", func(field string) error { return checkRoleARN(field, a.AssumeRoleARN, partition) }},
		{"external_id", a.ExternalID != "", func(field string) error { return checkExternalID(field, a.ExternalID) }},
		{"access_key_id", a.AccessKeyID != "", func(field string) error { return checkAccessKeyID(field, a.AccessKeyID) }},
		{"secret_access_key", !a.SecretAccessKey.IsZero(), func(field string) error { return checkSecretKey(field, a.SecretAccessKey) }},
	} {
		needed, allowed := fields[f.name]
		if f.name == "external_id" && a.AssumeRoleARN != "" {
			allowed = true
		}
		switch {
		case !f.given && needed:
			return wrong(auth+f.name, "is missing; the method %s needs it", method)
		case !f.given:
		case !allowed && f.name == "external_id":
			return wrong(auth+f.name, "is for the method %s, or for assume_role_arn", messages.AuthAssumeRole)
		case !allowed:
			return wrong(auth+f.name, "is not for the method %s", method)
		default:
			if err := f.check(auth + f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkRoleARN(field, arn, partition string) error {
	if len(arn) > maxARN {
		return wrong(field, "has %d characters, the limit is %d", len(arn), maxARN)
	}
	m := roleARN.FindStringSubmatch(arn)
	if m == nil {
		return wrong(field, "%.80q is not the ARN of a role, such as arn:%s:iam::123456789012:role/name", arn, partition)
	}
	if m[1] != partition {
		return wrong(field, "is in the partition %.20q, but the region is in %s", m[1], partition)
	}
	if len(m[3]) > maxPath {
		return wrong(field, "its path has %d characters, the limit is %d", len(m[3]), maxPath)
	}
	if len(m[4]) > maxRoleName {
		return wrong(field, "its name has %d characters, the limit is %d", len(m[4]), maxRoleName)
	}
	if !nameGrammar.MatchString(m[4]) {
		return wrong(field, "its name %.40q is not one: letters, digits and _+=,.@- only", m[4])
	}
	return nil
}

func checkExternalID(field, id string) error {
	if n := len(id); n < minExternalID || n > maxExternalID {
		return wrong(field, "has %d characters, it must have %d to %d", n, minExternalID, maxExternalID)
	}
	if !externalIDGrammar.MatchString(id) {
		return wrong(field, "must be of letters, digits and _+=,.@:/- only")
	}
	return nil
}

func checkAccessKeyID(field, id string) error {
	if n := len(id); n < minAccessKeyID || n > maxAccessKeyID {
		return wrong(field, "has %d characters, it must have %d to %d", n, minAccessKeyID, maxAccessKeyID)
	}
	if !keyIDGrammar.MatchString(id) {
		return wrong(field, "must be of capital letters, digits and _ only")
	}
	if strings.HasPrefix(id, "ASIA") {
		return wrong(field, "is that of a temporary key, which needs a session token and expires; it must be an IAM user's")
	}
	return nil
}

// checkSecretKey checks a secret access key. Its errors do not quote the key.
func checkSecretKey(field string, secret messages.Sensitive) error {
	s := secret.Reveal()
	if len(s) > maxSecretKey {
		return wrong(field, "has %d characters, the limit is %d", len(s), maxSecretKey)
	}
	if !secretGrammar.MatchString(s) {
		return wrong(field, "must have printable ASCII characters only, without white space")
	}
	return nil
}
