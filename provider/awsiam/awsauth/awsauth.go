// Package awsauth gets the broker's own AWS credentials.
//
// A definition chooses one of five methods: the SDK's default chain, a role assumed
// with the broker's credentials (assume_role), a service account's token on EKS
// (irsa), EKS Pod Identity (pod_identity), or an IAM user's access key (access_key).
// Each method uses its own source and nothing else. It does not fall back on the
// chain, in which keys in the environment would take precedence.
//
// [New] returns a [Cache] of the credentials. It makes no call and reads no file: a
// method that lacks something fails when the first call needs credentials, so that
// every call reports it in the same way, and a file that appears later is found.
//
// A Cache refreshes sessions in the background before they expire, once for all
// calls that need them. If a refresh fails, the present credentials stay in use
// until they expire.
//
// Retrieve returns an [*Error]. AWS's answer to a call that should have returned
// credentials is never taken for its answer to the call that needed them.
package awsauth

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
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// The environment variables that the methods read.
const (
	envBaseKeyID  = "DYNAMIC_SECRET_AWS_ACCESS_KEY_ID"     // assume_role: the base access key
	envBaseSecret = "DYNAMIC_SECRET_AWS_SECRET_ACCESS_KEY" // assume_role: its secret
	envIRSA       = "KUBERNETES_AUTO_FETCH_SERVICE_ACCOUNT_TOKEN"
	envRole       = "AWS_ROLE_ARN"
	envWebToken   = "AWS_WEB_IDENTITY_TOKEN_FILE" // #nosec G101 -- the name of a variable
	envAgentURL   = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envAgentToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" // #nosec G101 -- the name of a variable
)

// sessionLife is the length of the broker's own sessions: the longest that every
// role allows, also for a session of another role.
const sessionLife = time.Hour

// defaultSessionName is used if Config has no SessionName.
const defaultSessionName = "lessor"

// Config states where a connection's credentials come from.
type Config struct {
	// Auth is the method, and what it needs.
	Auth messages.Auth
	// SessionName is the name of the broker's role sessions; "" means "lessor".
	SessionName string
	// Own are the broker's credentials for the method default, and for assume_role
	// without a base key in the environment; nil means the credentials of AWS.
	Own aws.CredentialsProvider
	// AWS states how to reach STS. Its Retryer must not be that of the calls that
	// need the credentials, since these calls wait for them. Its Credentials are the
	// SDK's chain if [UsesChain].
	AWS aws.Config
	// Agent reaches the pod identity agent; see [AgentClient].
	Agent aws.HTTPClient
	// Endpoint is the URL of STS; "" is the SDK's choice.
	Endpoint string
	// Timeout bounds one refresh, with all its attempts.
	Timeout time.Duration
	Getenv  func(string) string
	Now     func() time.Time
	Log     zerolog.Logger
}

// UsesChain reports whether a connection uses the SDK's default chain, so that its
// settings have to be valid. It reads Auth, Own and Getenv only.
func (c Config) UsesChain() bool {
	switch c.Auth.Method {
	case messages.AuthDefault:
		return c.Own == nil
	case messages.AuthAssumeRole:
		return c.Own == nil && !c.hasBaseKey()
	}
	return false
}

func (c Config) hasBaseKey() bool {
	return c.Getenv(envBaseKeyID) != "" && c.Getenv(envBaseSecret) != ""
}

// New returns the credentials of a connection. It returns an error if there is no
// such method.
func New(c Config) (*Cache, error) {
	c.SessionName = cmp.Or(c.SessionName, defaultSessionName)
	switch c.Auth.Method {
	case messages.AuthDefault:
		return c.cached("", c.own().Retrieve), nil
	case messages.AuthAssumeRole:
		return c.assumed(c.Auth.RoleARN, c.base()), nil
	case messages.AuthIRSA:
		return c.secondRole(c.cached("AssumeRoleWithWebIdentity", c.webIdentity)), nil
	case messages.AuthPodIdentity:
		return c.secondRole(c.cached("GetCredentials", c.podIdentity)), nil
	case messages.AuthAccessKey:
		return c.cached("", c.accessKey), nil
	default:
		return nil, fmt.Errorf("there is no authentication method %.40q", c.Auth.Method)
	}
}

// own returns the broker's own credentials.
func (c Config) own() aws.CredentialsProvider {
	if c.Own != nil {
		return c.Own
	}
	if chain, ok := c.AWS.Credentials.(*aws.CredentialsCache); ok {
		return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return c.retrieveEarly(ctx, chain) })
	}
	return c.AWS.Credentials
}

// retrieveEarly makes the chain replace its credentials before they expire. By
// itself the chain returns the same session until its last second. It leaves the
// credentials of EC2 alone: the SDK may use these beyond their expiry while the
// metadata service is away.
func (c Config) retrieveEarly(ctx context.Context, chain *aws.CredentialsCache) (aws.Credentials, error) {
	got, err := chain.Retrieve(ctx)
	if err != nil || !got.CanExpire || got.Source == ec2rolecreds.ProviderName || got.Expires.Sub(c.Now()) > refreshWindow {
		return got, err
	}
	chain.Invalidate()
	return chain.Retrieve(ctx)
}

// base returns the credentials that assume_role uses: the base key in the
// environment, or the broker's own.
func (c Config) base() *Cache {
	id, secret := c.Getenv(envBaseKeyID), c.Getenv(envBaseSecret)
	if c.hasBaseKey() {
		return c.cached("", credentials.NewStaticCredentialsProvider(id, secret, "").Retrieve)
	}
	if id+secret != "" {
		c.Log.Warn().Msgf("only one of %s and %s is set: neither is used", envBaseKeyID, envBaseSecret)
	}
	return c.cached("", c.own().Retrieve)
}

// accessKey returns the access key of the definition.
func (c Config) accessKey(context.Context) (aws.Credentials, error) {
	if c.Auth.AccessKeyID == "" || c.Auth.SecretAccessKey.IsZero() {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the access key has no secret")
	}
	return aws.Credentials{AccessKeyID: c.Auth.AccessKeyID, SecretAccessKey: c.Auth.SecretAccessKey.Reveal()}, nil
}

// webIdentity exchanges the token of the pod's service account for a session. It
// reads the token each time, because the kubelet replaces it.
func (c Config) webIdentity(ctx context.Context) (aws.Credentials, error) {
	if c.Getenv(envIRSA) != "true" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the method irsa is enabled only where %s is true", envIRSA)
	}
	role := cmp.Or(c.Auth.RoleARN, c.Getenv(envRole))
	if role == "" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "the definition names no role, and %s is not set", envRole)
	}
	token, err := c.token(envWebToken)
	if err != nil {
		return aws.Credentials{}, err
	}
	return stscreds.NewWebIdentityRoleProvider(c.sts(aws.AnonymousCredentials{}), role, identityToken(token),
		func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName, o.Duration = c.SessionName, sessionLife
		}).Retrieve(ctx)
}

// secondRole assumes the second role of a definition, if it has one.
func (c Config) secondRole(first *Cache) *Cache {
	if c.Auth.AssumeRoleARN == "" {
		return first
	}
	return c.assumed(c.Auth.AssumeRoleARN, first)
}

// assumed returns the sessions of a role that is assumed with other credentials.
func (c Config) assumed(role string, by *Cache) *Cache {
	assume := stscreds.NewAssumeRoleProvider(c.sts(by), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = c.SessionName, sessionLife
		if c.Auth.ExternalID != "" {
			o.ExternalID = aws.String(c.Auth.ExternalID)
		}
	})
	return c.cached("AssumeRole", func(ctx context.Context) (aws.Credentials, error) {
		got, err := assume.Retrieve(ctx)
		if err != nil && !IsUnsigned(err) && awserr.Code(err) == awserr.ExpiredToken {
			by.Expired()
		}
		return got, err
	})
}

func (c Config) sts(as aws.CredentialsProvider) *sts.Client {
	cfg := c.AWS.Copy()
	cfg.Credentials = as
	return sts.NewFromConfig(cfg, func(o *sts.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
}

// cached returns a cache of what retrieve returns. op is the call that retrieve
// makes; "" means that it makes none, or one that only its error names.
func (c Config) cached(op string, retrieve func(context.Context) (aws.Credentials, error)) *Cache {
	return &Cache{
		retrieve: func(ctx context.Context) (aws.Credentials, error) {
			got, err := retrieve(ctx)
			if err == nil && !got.HasKeys() {
				err = awserr.ErrIncomplete
			}
			if err != nil {
				return got, unauthenticated(op, err)
			}
			return got, nil
		},
		op:      op,
		timeout: c.Timeout,
		now:     c.Now,
		log:     c.Log,
	}
}
