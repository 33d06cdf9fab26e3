package secrets

import (
	"io"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/username"
)

// Compiled is a definition that issues leases, with its user name template parsed.
type Compiled struct {
	messages.DynamicSecret

	raw      []byte             // the JSON that it was read from
	names    *username.Template // nil if namesErr is set
	namesErr error
}

// compile reads a stored definition. It returns a [messages.Error]: of code
// secret_deleting if the definition is being deleted, invalid_secret if it can't be used,
// and internal, with the cause [ErrNewerVersion].
func compile(name string, raw []byte) (Compiled, error) {
	s, err := decode(name, raw)
	if s.Deleting {
		err = messages.Errorf(messages.CodeSecretDeleting, "%s is being deleted", name)
	}
	if err != nil {
		return Compiled{}, err
	}
	c := Compile(s.Definition)
	c.raw = raw
	return c, nil
}

// Compile compiles a definition that need not be stored.
func Compile(d messages.DynamicSecret) Compiled {
	c := Compiled{DynamicSecret: d}
	c.names, c.namesErr = username.Parse(d.UsernameTemplate)
	return c
}

// Username returns a user name for a lease. It returns a [messages.Error] of code
// invalid_secret if the template is not valid or makes no name.
func (c Compiled) Username(name messages.LeaseName, now time.Time, random io.Reader) (string, error) {
	if c.namesErr != nil {
		return "", errTemplate(c.namesErr)
	}
	rendered, err := c.names.Render(username.Data{
		Identity: name.Identity, Secret: name.Secret, Type: string(c.AWS.CredentialType), Now: now, Rand: random,
	})
	if err != nil {
		return "", errTemplate(err)
	}
	return rendered, nil
}

func errTemplate(err error) error {
	return messages.Errorf(messages.CodeInvalidSecret, "username_template: %s", err)
}
