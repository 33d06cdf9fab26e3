package definition

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/username"
)

const usernameField = "username_template"

// User names of IAM consist of ASCII characters, and have 1 to 64. Session names of
// STS have 2 to 64 of the same characters.
var (
	userNameCharacters = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]*$`)
	minUserName        = map[messages.CredentialType]int{messages.CredentialIAMUser: 1, messages.CredentialAssumeRole: 2}
)

const maxUserName = 64

// checkUsername checks the characters of the template's literal texts, and renders it
// for identities that are likely to break it. A pattern may still make a name that is
// too long from another identity; AWS refuses that name.
func checkUsername(s messages.DynamicSecret) error {
	template, err := username.Parse(cmp.Or(s.UsernameTemplate, messages.DefaultUsernameTemplate))
	if err != nil {
		return wrong(usernameField, "%s", err)
	}
	for _, text := range template.Texts() {
		if !userNameCharacters.MatchString(text) {
			return wrong(usernameField, "has the text %.40q; IAM accepts letters, digits and _+=,.@-", text)
		}
	}
	kind := cmp.Or(s.AWS.CredentialType, messages.CredentialIAMUser)
	like := username.Data{Secret: s.Name, Type: string(kind), Now: time.Unix(1<<31, 0)}
	if err := template.CheckNames(like, func(identity, name string) error {
		if len(name) < minUserName[kind] || len(name) > maxUserName || !userNameCharacters.MatchString(name) {
			return fmt.Errorf("for the identity %s it makes %.80q of %d characters; IAM accepts %d to %d of letters, digits and _+=,.@-",
				identity, name, len(name), minUserName[kind], maxUserName)
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
