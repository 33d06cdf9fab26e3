package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// connectTimeout bounds the making of a connection; an answer may take longer.
const connectTimeout = 5 * time.Second

// connection is how to reach NATS, in the words of the nats command: its flags,
// its variables and its contexts.
type connection struct {
	server, context             string
	creds, nkey                 string
	user, password, token       string
	cert, key, ca               string
	inboxPrefix, jsDomain, base string
	timeout                     time.Duration
}

// setting is a flag of a connection and the variable that stands in for it.
type setting struct {
	into                   *string
	flag, short, env, help string
}

func (c *connection) settings() []setting {
	return []setting{
		{&c.server, "server", "s", "NATS_URL", "NATS server `URL`s, separated by commas (default " + nats.DefaultURL + ")"},
		{&c.context, "context", "", "NATS_CONTEXT", "`name` of a context of the nats command; the selected one where no server is named"},
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

// register adds the connection's flags to a command.
func (c *connection) register(cmd *cobra.Command) {
	for _, s := range c.settings() {
		help := s.help
		if s.env != "" {
			help += " [$" + s.env + "]"
		}
		cmd.Flags().StringVarP(s.into, s.flag, s.short, "", help)
	}
	cmd.Flags().DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to wait for an answer")
}

// check fills in what the variables say and refuses what can't be.
func (c *connection) check(env *environment) error {
	for _, s := range c.settings() {
		if *s.into == "" && s.env != "" {
			*s.into = env.Getenv(s.env)
		}
	}
	if c.timeout <= 0 {
		return usagef("--timeout is %s; it must be above 0s", c.timeout)
	}
	if (c.cert == "") != (c.key == "") {
		return usagef("--tlscert and --tlskey go together")
	}
	if c.password != "" && c.user == "" {
		return usagef("--password needs a --user")
	}
	_, err := c.namespace()
	return err
}

// namespace is the installation that --prefix chooses.
func (c *connection) namespace() (messages.Namespace, error) {
	ns, err := messages.NewNamespace(c.base)
	if err != nil {
		return ns, flagError("--prefix", err)
	}
	return ns, nil
}

// dial connects, once check was content. The name is shown by NATS's own tools.
func (c *connection) dial(env *environment, name string, options ...nats.Option) (*nats.Conn, error) {
	settings, err := c.natsContext()
	if err != nil {
		return nil, err
	}
	all := append([]nats.Option{
		nats.Name(name), nats.Timeout(min(c.timeout, connectTimeout)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrPermissionViolation) { // the client tells of those itself
				env.note("NATS: %s", err)
			}
		}),
	}, options...)
	nc, err := settings.Connect(all...)
	if err != nil {
		return nil, refused(err, settings.ServerURL())
	}
	return nc, nil
}

// streams connects a command that reads streams itself, which are where the flags say.
// The connection is the result's, for the caller to close.
func (c *connection) streams(env *environment, name string) (jetstream.JetStream, messages.Namespace, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, ns, err
	}
	nc, err := c.dial(env, name, nats.MaxReconnects(-1))
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

// natsContext puts flags over a context of the nats command's. The selected
// context counts only where no server is named: its credentials are not for any
// other server.
func (c *connection) natsContext() (*natscontext.Context, error) {
	authenticates := c.creds+c.nkey+c.user+c.token != ""
	flags := []natscontext.Option{
		natscontext.WithServerURL(c.server), natscontext.WithCreds(c.creds), natscontext.WithNKey(c.nkey),
		natscontext.WithUser(c.user), natscontext.WithPassword(c.password), natscontext.WithToken(c.token),
		natscontext.WithCertificate(c.cert), natscontext.WithKey(c.key), natscontext.WithCA(c.ca),
		natscontext.WithInboxPrefix(c.inboxPrefix), natscontext.WithJSDomain(c.jsDomain),
	}
	load := c.context != "" || c.server == "" && natscontext.SelectedContext() != ""
	saved, err := natscontext.New(c.context, load, flags...)
	if err != nil {
		return nil, fmt.Errorf(`NATS context %q: %w; "nats context ls" shows the contexts there are`, c.context, err)
	}
	if load && authenticates {
		// A context has one way to authenticate, and it would go before the flags'.
		saved, err = natscontext.New("", false, append([]natscontext.Option{
			natscontext.WithServerURL(saved.ServerURL()), natscontext.WithCertificate(saved.Certificate()),
			natscontext.WithKey(saved.Key()), natscontext.WithCA(saved.CA()),
			natscontext.WithInboxPrefix(saved.InboxPrefix()), natscontext.WithJSDomain(saved.JSDomain()),
		}, flags...)...)
		if err != nil {
			return nil, fmt.Errorf("NATS context %q: %w", c.context, err)
		}
	}
	c.jsDomain = saved.JSDomain()
	return saved, nil
}

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

// requester is what the commands of requesters have in common.
type requester struct {
	connection
	identity string
	json     bool
}

func (r *requester) register(cmd *cobra.Command) {
	r.connection.register(cmd)
	cmd.GroupID = requesters
	cmd.Flags().StringVarP(&r.identity, "identity", "i", "", "who asks; NATS must allow it [$LESSOR_IDENTITY]")
	cmd.Flags().BoolVar(&r.json, "json", false, "print JSON, as it is on the wire")
}

// registerOwner is register for a command about a lease.
func (r *requester) registerOwner(cmd *cobra.Command) {
	r.register(cmd)
	cmd.Flags().Lookup("identity").Usage = "who asks (default: as the lease's name says)"
}

// asIdentity checks the flags of a command that needs --identity.
func (r *requester) asIdentity(env *environment) error {
	if r.identity == "" {
		r.identity = env.Getenv("LESSOR_IDENTITY")
	}
	if r.identity == "" {
		return usagef("who asks is not said; name it with --identity or LESSOR_IDENTITY")
	}
	if err := checkToken("--identity", r.identity); err != nil {
		return err
	}
	return r.check(env)
}

// asOwner checks the flags of a command about a lease. Its name says who asks.
func (r *requester) asOwner(env *environment, lease string) error {
	l, err := messages.ParseLeaseName(lease)
	if err != nil {
		return flagError("LEASE", err)
	}
	if r.identity != "" && r.identity != l.Identity {
		return usagef("--identity is %q, but the lease belongs to %q; leave the flag away", r.identity, l.Identity)
	}
	r.identity = l.Identity
	return r.check(env)
}

// client connects. The function it returns closes the connection.
func (r *requester) client(env *environment) (*client.Client, func(), error) {
	ns, err := r.namespace()
	if err != nil {
		return nil, nil, err
	}
	nc, err := r.dial(env, "lessor "+r.identity)
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(nc, client.Options{Identity: r.identity, Namespace: ns, Timeout: r.timeout})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return c, nc.Close, nil
}
