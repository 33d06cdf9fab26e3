package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
)

// dialError returns an error that says why there is no connection, and what to do.
func dialError(err error, servers string) error {
	servers = withoutSecrets(servers)
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return plainError{fmt.Sprintf("no NATS server answers at %s; start one, or name another with --server or --context", servers), err}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("the NATS server at %s refuses the connection: %w; check --creds, --nkey, --user or --context", servers, err)
	}
	return fmt.Errorf("connect to NATS at %s: %w; check --server and the files of --creds, --nkey and --tls…", servers, err)
}

// plainError is an error with a text of its own. Its cause is in the chain but not in the
// text.
type plainError struct {
	text  string
	cause error
}

func (e plainError) Error() string { return e.text }

func (e plainError) Unwrap() error { return e.cause }

// withoutSecrets removes users, passwords and tokens from server URLs.
func withoutSecrets(servers string) string {
	list := strings.Split(servers, ",")
	for i, s := range list {
		s = strings.TrimSpace(s)
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			u.User = nil
			s = u.String()
		} else if at := strings.LastIndexByte(s, '@'); at >= 0 {
			s = s[at+1:]
		}
		list[i] = s
	}
	return strings.Join(list, ",")
}
