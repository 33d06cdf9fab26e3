package awsiam

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// The variables that the methods read themselves.
const (
	envBaseKeyID  = "DYNAMIC_SECRET_AWS_ACCESS_KEY_ID"
	envBaseSecret = "DYNAMIC_SECRET_AWS_SECRET_ACCESS_KEY"
	envIRSA       = "KUBERNETES_AUTO_FETCH_SERVICE_ACCOUNT_TOKEN"
	envRole       = "AWS_ROLE_ARN"
	envWebToken   = "AWS_WEB_IDENTITY_TOKEN_FILE" // #nosec G101 -- the name of a variable
	envAgentURL   = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envAgentToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" // #nosec G101 -- the name of a variable
)

// sessionLife is how long the broker's own sessions last: the most that every
// role gives, also to a session of another role.
const sessionLife = time.Hour

// defaultSession names them where the connection does not.
const defaultSession = "lessor"

// authentication is one connection's way to credentials. A method that is chosen
// uses its own provider, never the chain: there, keys in the environment come
// before everything else. What a method lacks shows when it is used, so that
// every call says so in the same way, and a file that comes late is found.
type authentication struct {
	auth    messages.Auth
	session string
	options Options
	// config is how to reach STS. Its credentials are the chain's where usesChain
	// says so, and nobody's elsewhere. Its retryer is not that of the account: a
	// few calls an hour must not wait behind all the others, which wait for them.
	config  aws.Config
	retryer *retryer
	agent   aws.HTTPClient // reaches the pod identity agent
	log     zerolog.Logger
}

// newAuthentication returns a connection's. config is the account's, whose
// limiter it leaves alone.
func newAuthentication(o Options, c provider.Connection, config aws.Config, agent aws.HTTPClient, log zerolog.Logger) authentication {
	config = config.Copy()
	o.Rate = 0
	retryer := newRetryer(o)
	config.Retryer = func() aws.Retryer { return retryer }
	return authentication{
		auth: c.Auth, session: cmp.Or(c.Session, defaultSession),
		options: o, config: config, retryer: retryer, agent: agent, log: log,
	}
}

// usesChain says whether a method may use the SDK's own chain. Where it may not,
// a chain that is set up wrongly does no harm, but for an AWS_PROFILE that does not
// exist: that the SDK refuses whatever is asked of it.
func (o Options) usesChain(auth messages.Auth) bool {
	switch auth.Method {
	case messages.AuthDefault:
		return o.Credentials == nil
	case messages.AuthAssumeRole:
		return o.Credentials == nil && !o.hasBaseKey()
	}
	return false
}

func (o Options) hasBaseKey() bool {
	return o.Getenv(envBaseKeyID) != "" && o.Getenv(envBaseSecret) != ""
}

// provider returns the credentials, which may be asked for at every call.
func (a authentication) provider() (aws.CredentialsProvider, error) {
	switch a.auth.Method {
	case messages.AuthDefault:
		return a.cached("", a.own().Retrieve), nil
	case messages.AuthAssumeRole:
		return a.assumed(a.auth.RoleARN, a.base()), nil
	case messages.AuthIRSA:
		return a.second(a.cached("AssumeRoleWithWebIdentity", a.webIdentity)), nil
	case messages.AuthPodIdentity:
		return a.second(a.cached("GetCredentials", a.podIdentity)), nil
	case messages.AuthAccessKey:
		return a.cached("", a.accessKey), nil
	default:
		return nil, fmt.Errorf("there is no authentication method %.40q", a.auth.Method)
	}
}

// own are the broker's credentials where no method brings others.
func (a authentication) own() aws.CredentialsProvider {
	if a.options.Credentials != nil {
		return a.options.Credentials
	}
	if chain, ok := a.config.Credentials.(*aws.CredentialsCache); ok {
		return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return a.ahead(ctx, chain) })
	}
	return a.config.Credentials
}

// ahead has the chain bring other credentials before those that it keeps expire.
// It would keep them to the end by itself, but for those of EC2, which it may use
// for longer than that while the metadata are away.
func (a authentication) ahead(ctx context.Context, chain *aws.CredentialsCache) (aws.Credentials, error) {
	c, err := chain.Retrieve(ctx)
	if err != nil || !c.CanExpire || c.Source == ec2rolecreds.ProviderName || c.Expires.Sub(a.options.Now()) > refreshWindow {
		return c, err
	}
	chain.Invalidate()
	return chain.Retrieve(ctx)
}

// base are the credentials with which a role is assumed: a key of its own in the
// environment, or the broker's.
func (a authentication) base() aws.CredentialsProvider {
	id, secret := a.options.Getenv(envBaseKeyID), a.options.Getenv(envBaseSecret)
	if a.options.hasBaseKey() {
		return credentials.NewStaticCredentialsProvider(id, secret, "")
	}
	if id+secret != "" {
		a.log.Warn().Msgf("only one of %s and %s is set: neither is used", envBaseKeyID, envBaseSecret)
	}
	return a.cached("", a.own().Retrieve)
}

// accessKey is the key of an IAM user.
func (a authentication) accessKey(context.Context) (aws.Credentials, error) {
	if a.auth.AccessKeyID == "" || a.auth.SecretAccessKey.IsZero() {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the access key has no secret")
	}
	return aws.Credentials{AccessKeyID: a.auth.AccessKeyID, SecretAccessKey: a.auth.SecretAccessKey.Reveal()}, nil
}

// webIdentity exchanges the token of the pod's service account for a session. The
// token is read each time: the kubelet replaces it.
func (a authentication) webIdentity(ctx context.Context) (aws.Credentials, error) {
	if a.options.Getenv(envIRSA) != "true" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the method irsa is enabled only where %s is true", envIRSA)
	}
	role := cmp.Or(a.auth.RoleARN, a.options.Getenv(envRole))
	if role == "" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the definition names no role, and %s is not set", envRole)
	}
	token, err := a.token(envWebToken)
	if err != nil {
		return aws.Credentials{}, err
	}
	return stscreds.NewWebIdentityRoleProvider(a.sts(aws.AnonymousCredentials{}), role, identityToken(token),
		func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName, o.Duration = a.session, sessionLife
		}).Retrieve(ctx)
}

// second assumes the second role, if there is one.
func (a authentication) second(first aws.CredentialsProvider) aws.CredentialsProvider {
	if a.auth.AssumeRoleARN == "" {
		return first
	}
	return a.assumed(a.auth.AssumeRoleARN, first)
}

// assumed are sessions of a role that another principal assumes.
func (a authentication) assumed(role string, by aws.CredentialsProvider) aws.CredentialsProvider {
	a.retryer.cache, _ = by.(*cache)
	return a.cached("AssumeRole", stscreds.NewAssumeRoleProvider(a.sts(by), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = a.session, sessionLife
		o.ExternalID = optional(a.auth.ExternalID)
	}).Retrieve)
}

func (a authentication) sts(as aws.CredentialsProvider) *sts.Client {
	cfg := a.config.Copy()
	cfg.Credentials = as
	return sts.NewFromConfig(cfg, func(o *sts.Options) { setEndpoint(&o.BaseEndpoint, a.options.Endpoint) })
}

// cached keeps what retrieve brings. op is the call that retrieve makes; "" is
// none, or one that only its error knows.
func (a authentication) cached(op string, retrieve func(context.Context) (aws.Credentials, error)) *cache {
	return &cache{
		retrieve: func(ctx context.Context) (aws.Credentials, error) {
			c, err := retrieve(ctx)
			if err == nil && !c.HasKeys() {
				err = errIncomplete
			}
			if err != nil {
				return c, unauthenticated(op, err)
			}
			return c, nil
		},
		op:      op,
		timeout: 2 * sdkAttempts * a.options.AttemptTimeout,
		now:     a.options.Now,
		log:     a.log,
	}
}
