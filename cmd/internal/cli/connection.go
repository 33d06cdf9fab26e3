package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
)

// Connection is how to reach NATS. It has the flags, variables and contexts of the nats
// command. A connection whose Server and Context are "" uses the selected context, or
// [nats.DefaultURL].
type Connection struct {
	Server, Context             string
	creds, nkey                 string
	user, password, token       string
	cert, key, ca               string
	inboxPrefix, jsDomain, base string
	Timeout                     time.Duration
}

// setting is a flag of a connection and the environment variable of its default.
type setting struct {
	into                   *string
	flag, short, env, help string
}

func (c *Connection) settings() []setting {
	return []setting{
		{&c.Server, "server", "s", "NATS_URL", "NATS server `URL`s, separated by commas (default " + nats.DefaultURL + ")"},
		{&c.Context, "context", "", "NATS_CONTEXT", "`name` of a context of the nats command (default: the selected one, unless a server is given)"},
		{&c.creds, "creds", "", "NATS_CREDS", "credentials `file`"},
		{&c.nkey, "nkey", "", "NATS_NKEY", "`file` with a user's nkey seed"},
		{&c.user, "user", "", "NATS_USER", "user `name`"},
		{&c.password, "password", "", "NATS_PASSWORD", "the user's password"},
		{&c.token, "token", "", "NATS_TOKEN", "authentication token"},
		{&c.cert, "tlscert", "", "NATS_CERT", "client certificate `file`"},
		{&c.key, "tlskey", "", "NATS_KEY", "client certificate's key `file`"},
		{&c.ca, "tlsca", "", "NATS_CA", "`file` with the certificate authorities to trust"},
		{&c.inboxPrefix, "inbox-prefix", "", "", "`subject` that inboxes begin with (default _INBOX)"},
		{&c.jsDomain, "js-domain", "", "", "JetStream `domain`"},
		{&c.base, "prefix", "", "LESSOR_PREFIX", "first `token` of lessor's subjects (default " + messages.DefaultPrefix + ")"},
	}
}

// Register adds the connection's flags to a command.
func (c *Connection) Register(cmd *cobra.Command) {
	for _, s := range c.settings() {
		help := s.help
		if s.env != "" {
			help += " [$" + s.env + "]"
		}
		cmd.Flags().StringVarP(s.into, s.flag, s.short, "", help)
	}
	cmd.Flags().DurationVar(&c.Timeout, "timeout", 30*time.Second, "how long to wait for a reply")
}

// Check takes defaults from the environment variables. It returns a usage error if the
// flags contradict each other.
func (c *Connection) Check(env *Environment) error {
	for _, s := range c.settings() {
		if *s.into == "" && s.env != "" {
			*s.into = env.Getenv(s.env)
		}
	}
	if c.Timeout <= 0 {
		return Usagef("--timeout is %s; it must be above 0s", c.Timeout)
	}
	if (c.cert == "") != (c.key == "") {
		return Usagef("--tlscert and --tlskey go together")
	}
	if c.password != "" && c.user == "" {
		return Usagef("--password needs a --user")
	}
	_, err := c.Namespace()
	return err
}

// Namespace returns the namespace that --prefix chooses, or a usage error.
func (c *Connection) Namespace() (messages.Namespace, error) {
	ns, err := messages.NewNamespace(c.base)
	if err != nil {
		return ns, FlagError("--prefix", err)
	}
	return ns, nil
}

// Dial connects to NATS. Check must have succeeded. The name is the name of the connection
// in the NATS server's monitoring.
func (c *Connection) Dial(env *Environment, name string, options ...nats.Option) (*nats.Conn, error) {
	settings, err := c.natsContext()
	if err != nil {
		return nil, err
	}
	all := append([]nats.Option{
		nats.Name(name), nats.Timeout(min(c.Timeout, connectTimeout)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrPermissionViolation) { // the client returns those as errors
				env.Note("NATS: %s", err)
			}
		}),
	}, options...)
	nc, err := settings.Connect(all...)
	if err != nil {
		return nil, dialError(err, settings.ServerURL())
	}
	return nc, nil
}

// Streams connects to NATS for a command that reads streams itself. The caller closes the
// connection of the result.
func (c *Connection) Streams(env *Environment, name string) (jetstream.JetStream, messages.Namespace, error) {
	ns, err := c.Namespace()
	if err != nil {
		return nil, ns, err
	}
	nc, err := c.Dial(env, name, nats.MaxReconnects(-1))
	if err != nil {
		return nil, ns, err
	}
	var js jetstream.JetStream
	if c.jsDomain == "" {
		js, err = jetstream.New(nc)
	} else {
		js, err = jetstream.NewWithDomain(nc, c.jsDomain)
	}
	if err != nil {
		nc.Close()
	}
	return js, ns, err
}

// natsContext returns the settings of the flags over those of a context of the nats
// command. The selected context is used only if the flags name no server: its credentials
// must not be sent to another server.
func (c *Connection) natsContext() (*natscontext.Context, error) {
	authenticates := c.creds+c.nkey+c.user+c.token != ""
	flags := []natscontext.Option{
		natscontext.WithServerURL(c.Server), natscontext.WithCreds(c.creds), natscontext.WithNKey(c.nkey),
		natscontext.WithUser(c.user), natscontext.WithPassword(c.password), natscontext.WithToken(c.token),
		natscontext.WithCertificate(c.cert), natscontext.WithKey(c.key), natscontext.WithCA(c.ca),
		natscontext.WithInboxPrefix(c.inboxPrefix), natscontext.WithJSDomain(c.jsDomain),
	}
	load := c.Context != "" || c.Server == "" && natscontext.SelectedContext() != ""
	saved, err := natscontext.New(c.Context, load, flags...)
	if err != nil {
		return nil, fmt.Errorf(`NATS context %q: %w; "nats context ls" lists the contexts`, c.Context, err)
	}
	if load && authenticates {
		// A context has one way to authenticate, and it takes precedence over the flags.
		saved, err = natscontext.New("", false, append([]natscontext.Option{
			natscontext.WithServerURL(saved.ServerURL()), natscontext.WithCertificate(saved.Certificate()),
			natscontext.WithKey(saved.Key()), natscontext.WithCA(saved.CA()),
			natscontext.WithInboxPrefix(saved.InboxPrefix()), natscontext.WithJSDomain(saved.JSDomain()),
		}, flags...)...)
		if err != nil {
			return nil, fmt.Errorf("NATS context %q: %w", c.Context, err)
		}
	}
	c.jsDomain = saved.JSDomain()
	return saved, nil
}

// connectTimeout bounds a connection attempt; a reply may take longer.
const connectTimeout = 5 * time.Second
