package awsiam

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/provider"
)

// account is one AWS account, as one principal.
type account struct {
	connection     provider.Connection
	iam            *iam.Client
	sts            *sts.Client
	calls          *retryer
	join           func(number string) // tells which account it is
	backoff        func(try int) time.Duration
	attemptTimeout time.Duration
	log            zerolog.Logger
}

var _ provider.Account = (*account)(nil)

// connect makes the SDK's clients. The caller holds p.mu.
func (p *Provider) connect(ctx context.Context, c provider.Connection) (*account, error) {
	o := p.options
	calls := newRetryer(o)
	if before, ok := p.accounts[c.Name]; ok {
		calls.budget = before.calls.budget // another secret, the same account
	}
	log := o.Log.With().Str("connection", c.Name).Logger()
	load := []func(*config.LoadOptions) error{
		config.WithRegion(c.Region),
		config.WithHTTPClient(p.http),
		config.WithRetryer(func() aws.Retryer { return calls }),
		config.WithLogger(sdkLogger(o.Log)),
	}
	if !o.usesChain(c.Auth) {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, &provider.Error{Kind: provider.Unavailable, Op: "the AWS configuration", Err: err}
	}
	agent := agentClient(cfg.HTTPClient)
	if p.sender == nil {
		p.sender = newSender(cfg.HTTPClient, o.AttemptTimeout)
	}
	cfg.HTTPClient = p.sender
	cfg.APIOptions = append(cfg.APIOptions, addWire)
	own, err := newAuthentication(o, c, cfg, agent, log).provider()
	if err != nil {
		return nil, &provider.Error{Kind: provider.Rejected, Op: "the AWS configuration", Err: err}
	}
	cfg.Credentials = own
	calls.cache, _ = own.(*cache)
	return &account{
		connection: c,
		iam: iam.NewFromConfig(cfg, func(s *iam.Options) {
			setEndpoint(&s.BaseEndpoint, o.Endpoint)
			s.EndpointResolverV2 = &resolvedOnce{EndpointResolverV2: iam.NewDefaultEndpointResolverV2()}
		}),
		sts:            sts.NewFromConfig(cfg, func(s *sts.Options) { setEndpoint(&s.BaseEndpoint, o.Endpoint) }),
		calls:          calls,
		join:           func(number string) { p.budgets.join(calls.budget, number) },
		backoff:        o.Backoff,
		attemptTimeout: o.AttemptTimeout,
		log:            log,
	}, nil
}

// httpClient is one of the SDK's own: with AWS_CA_BUNDLE set, it takes no other.
func httpClient(o Options) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(o.AttemptTimeout).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 0 // bounded for each host
			t.MaxIdleConnsPerHost = o.MaxConns
			t.MaxConnsPerHost = o.MaxConns
			t.WriteBufferSize = writeBuffer
		})
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
