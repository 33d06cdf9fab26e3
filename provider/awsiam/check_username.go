package awsiam

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/username"
)

const usernameField = "username_template"

// IAM's grammar for user names, for which \w is ASCII, and STS's for the names of
// sessions, which have two characters at least.
var (
	userNameCharacters = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]*$`)
	leastUserName      = map[messages.CredentialType]int{messages.CredentialIAMUser: 1, messages.CredentialAssumeRole: 2}
)

const maxUserName = 64

// checkUsername checks the characters of the template's own texts, and tries it
// with identities that are hard on it. That can't be all that there are: what a
// pattern does to one of them may still make a name that is too long, and then
// AWS says so.
func checkUsername(s messages.DynamicSecret) error {
	template, err := username.Parse(cmp.Or(s.UsernameTemplate, messages.DefaultUsernameTemplate))
	if err != nil {
		return wrong(usernameField, "%s", err)
	}
	for _, text := range template.Texts() {
		if !userNameCharacters.MatchString(text) {
			return wrong(usernameField, "has the text %.40q; IAM takes letters, digits and _+=,.@-", text)
		}
	}
	kind := cmp.Or(s.AWS.CredentialType, messages.CredentialIAMUser)
	like := username.Data{Secret: s.Name, Type: string(kind), Now: time.Unix(1<<31, 0)}
	if err := template.CheckNames(like, func(identity, name string) error {
		if len(name) < leastUserName[kind] || len(name) > maxUserName || !userNameCharacters.MatchString(name) {
			return fmt.Errorf("for the identity %s it makes %.80q of %d characters; IAM takes %d to %d of letters, digits and _+=,.@-",
				identity, name, len(name), leastUserName[kind], maxUserName)
		}
		return nil
	}); err != nil {
		return wrong(usernameField, "%s", err)
	}
	if s.AllowFixedUsername {
		return nil
	}
	if err := template.CheckUnique(like); err != nil {
		return wrong(usernameField, "%s", err)
	}
	return nil
}
