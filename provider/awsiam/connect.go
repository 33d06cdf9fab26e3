package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// account is one AWS account, as one principal.
type account struct {
	connection     provider.Connection
	iam            *iam.Client
	sts            *sts.Client
	limit          *retryer
	backoff        func(try int) time.Duration
	attemptTimeout time.Duration
	log            zerolog.Logger
}

var _ provider.Account = (*account)(nil)

// connect makes the SDK's clients. The caller holds p.mu.
func (p *Provider) connect(ctx context.Context, c provider.Connection) (*account, error) {
	o := p.options
	limit := newRetryer(o)
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(c.Region),
		config.WithHTTPClient(p.http),
		config.WithRetryer(func() aws.Retryer { return limit }),
		config.WithLogger(sdkLogger(o.Log)),
	)
	if err != nil {
		return nil, &provider.Error{Kind: provider.Unavailable, Op: "the AWS configuration", Err: err}
	}
	if cfg.Credentials, err = p.credentials(cfg, c.Auth); err != nil {
		return nil, &provider.Error{Kind: provider.Rejected, Op: "the AWS configuration", Err: err}
	}
	cfg.Credentials = retrieving{cfg.Credentials}
	// The SDK copies a buildable client, and its pool of connections, for each
	// service and each configuration. Frozen, it is shared.
	if p.frozen == nil {
		p.frozen = freeze(cfg.HTTPClient)
	}
	cfg.HTTPClient = p.frozen
	cfg.APIOptions = append(cfg.APIOptions, addWire)
	return &account{
		connection:     c,
		iam:            iam.NewFromConfig(cfg, func(s *iam.Options) { setEndpoint(&s.BaseEndpoint, o.Endpoint) }),
		sts:            sts.NewFromConfig(cfg, func(s *sts.Options) { setEndpoint(&s.BaseEndpoint, o.Endpoint) }),
		limit:          limit,
		backoff:        o.Backoff,
		attemptTimeout: o.AttemptTimeout,
		log:            o.Log.With().Str("connection", c.Name).Logger(),
	}, nil
}

// credentials are the broker's own for one way to authenticate. A method that is
// chosen uses its own provider, never the chain: there, keys in the environment
// come before everything else.
func (p *Provider) credentials(cfg aws.Config, auth messages.Auth) (aws.CredentialsProvider, error) {
	switch auth.Method {
	case messages.AuthDefault:
		if p.options.Credentials != nil {
			return aws.NewCredentialsCache(p.options.Credentials), nil
		}
		return cfg.Credentials, nil
	default:
		return nil, fmt.Errorf("there is no authentication method %.40q", auth.Method)
	}
}

// retrieving marks the errors of a credentials provider: a call that was never
// signed says the same as one that was never answered otherwise.
type retrieving struct{ aws.CredentialsProvider }

// noCredentials is why there are no credentials.
type noCredentials struct{ error }

func (e noCredentials) Unwrap() error { return e.error }

// Retrieve returns the credentials.
func (r retrieving) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := r.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = noCredentials{err}
	}
	return c, err
}

// httpClient is one of the SDK's own: with AWS_CA_BUNDLE set, it takes no other.
func httpClient(o Options) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(o.AttemptTimeout).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 0 // bounded for each host
			t.MaxIdleConnsPerHost = o.MaxConns
			t.MaxConnsPerHost = o.MaxConns
		})
}

func freeze(c aws.HTTPClient) aws.HTTPClient {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		return b.Freeze()
	}
	return c
}

// sdkLogger takes what the SDK would write to standard error.
func sdkLogger(l zerolog.Logger) logging.Logger {
	return logging.LoggerFunc(func(c logging.Classification, format string, args ...any) {
		level := zerolog.DebugLevel
		if c == logging.Warn {
			level = zerolog.WarnLevel
		}
		l.WithLevel(level).Msgf(format, args...)
	})
}

func setEndpoint(field **string, endpoint string) {
	if endpoint != "" {
		*field = aws.String(endpoint)
	}
}
