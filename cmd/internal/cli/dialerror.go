package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
)

// refused says why there is no connection and what to do.
func refused(err error, servers string) error {
	servers = withoutSecrets(servers)
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return said{fmt.Sprintf("no NATS server answers at %s; start one, or name another with --server or --context", servers), err}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("the NATS server at %s refuses the connection: %w; check --creds, --nkey, --user or --context", servers, err)
	}
	return fmt.Errorf("connect to NATS at %s: %w; check --server and the files of --creds, --nkey and --tls…", servers, err)
}

// said is an error in words of our own that say it all. What it came from can be asked
// for.
type said struct {
	text  string
	cause error
}

func (e said) Error() string { return e.text }

func (e said) Unwrap() error { return e.cause }

// withoutSecrets drops users, passwords and tokens from server URLs.
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
