package awsiam

import (
	"cmp"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

const usernameField = "username_template"

// userNameGrammar is IAM's, for which \w is ASCII.
var userNameGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)

// checkUsername tries the template with identities that are hard on it. It can't
// try all that there are: what a pattern does to one of them may still break
// IAM's rules, and then AWS says so.
func checkUsername(s messages.DynamicSecret) error {
	template, err := provider.ParseUsername(cmp.Or(s.UsernameTemplate, messages.DefaultUsernameTemplate))
	if err != nil {
		return wrong(usernameField, "%s", err)
	}
	grammar, least := userNameGrammar, 1
	if s.AWS.CredentialType == messages.CredentialAssumeRole {
		grammar, least = sessionNameGrammar, 2
	}
	for i, identity := range hardIdentities() {
		name, err := template.Render(provider.UsernameData{
			Identity: identity,
			Secret:   s.Name,
			Type:     string(cmp.Or(s.AWS.CredentialType, messages.CredentialIAMUser)),
			Now:      time.Unix(1<<31, 0),
			Rand:     rand.NewChaCha8([32]byte{byte(i)}),
		})
		if err != nil {
			return wrong(usernameField, "for the identity %s: %s", identity, err)
		}
		if !grammar.MatchString(name) {
			return wrong(usernameField, "for the identity %s it makes %.80q of %d characters; AWS takes %d to 64 of letters, digits and _+=,.@-",
				identity, name, len(name), least)
		}
	}
	if !template.Random() {
		return wrong(usernameField, "has no randomness, so that two leases would get the same name; add {{random 16}}")
	}
	return nil
}

// hardIdentities are the shortest and the longest identities ([messages.CheckToken])
// of every character, and some mixed ones.
func hardIdentities() []string {
	const characters = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	hard := []string{
		strings.Repeat("a-", 32), strings.Repeat("-a", 32), strings.Repeat("_-", 32), strings.Repeat("a1_-", 16),
		(characters + characters)[:64],
	}
	for _, c := range characters {
		hard = append(hard, string(c), strings.Repeat(string(c), 64))
	}
	return hard
}
