package messages

import "strings"

// maxToken is the length of the longest identity, secret name or lease id.
const maxToken = 64

// CheckToken returns an [Error] that names the field unless value is valid as an
// identity, the name of a secret or a lease id: one subject token of 1 to 64 lower-case
// letters, digits, "_" and "-". Upper case is not allowed, because IAM user names ignore
// case and JWT tags are lower case.
func CheckToken(field, value string) error {
	if value == "" {
		return Errorf(CodeInvalidSubject, "%s is empty", field)
	}
	if len(value) > maxToken {
		return Errorf(CodeInvalidSubject, "%s has %d characters, the limit is %d", field, len(value), maxToken)
	}
	for i := range len(value) {
		c := value[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return Errorf(CodeInvalidSubject, "%s may have only a-z, 0-9, _ and -", field)
		}
	}
	return nil
}

// LeaseName is the name of a lease: the tokens after the verb in every subject about
// it, and its key in the lease bucket.
type LeaseName struct {
	Identity, Secret, ID string
}

// ParseLeaseName parses "<identity>.<secret>.<id>". It returns an [Error] if s has
// another form or a part is not a valid token.
func ParseLeaseName(s string) (LeaseName, error) {
	t := strings.Split(s, ".")
	if len(t) != 3 {
		return LeaseName{}, Errorf(CodeInvalidSubject, "a lease name has three parts, <identity>.<secret>.<id>; this has %d", len(t))
	}
	return NewLeaseName(t[0], t[1], t[2])
}

// NewLeaseName returns the name with the three tokens. It returns an [Error] that names
// the first token that is not valid.
func NewLeaseName(identity, secret, id string) (LeaseName, error) {
	n := LeaseName{Identity: identity, Secret: secret, ID: id}
	for _, f := range []struct{ field, value string }{{"identity", identity}, {"secret", secret}, {"id", id}} {
		if err := CheckToken(f.field, f.value); err != nil {
			return LeaseName{}, err
		}
	}
	return n, nil
}

// String returns "<identity>.<secret>.<id>".
func (n LeaseName) String() string { return n.Identity + "." + n.Secret + "." + n.ID }
