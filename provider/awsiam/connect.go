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
	"github.com/lessorhq/lessor/provider/awsiam/awsauth"
)

// account is one AWS account, reached as one principal.
type account struct {
	connection     provider.Connection
	iam            *iam.Client
	sts            *sts.Client
	retryer        *retryer
	join           func(number string) // shares the call budget of the account with that number
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
		calls.budget = before.retryer.budget // another secret of the same connection
	}
	log := o.Log.With().Str("connection", c.Name).Logger()
	auth := awsauth.Config{
		Auth: c.Auth, SessionName: c.Session, Own: o.Credentials,
		Endpoint: o.Endpoint, Timeout: 2 * sdkAttempts * o.AttemptTimeout,
		Getenv: o.Getenv, Now: o.Now, Log: log,
	}
	cfg, err := p.load(ctx, c.Region, calls, auth.UsesChain())
	if err != nil {
		return nil, &provider.Error{Kind: provider.Unavailable, Op: "the AWS configuration", Err: err}
	}
	auth.Agent = awsauth.AgentClient(cfg.HTTPClient)
	if p.sender == nil {
		p.sender = newSender(cfg.HTTPClient, o.AttemptTimeout)
	}
	cfg.HTTPClient = p.sender
	cfg.APIOptions = append(cfg.APIOptions, addMiddleware)
	auth.AWS = withoutLimit(cfg, o)
	own, err := awsauth.New(auth)
	if err != nil {
		return nil, &provider.Error{Kind: provider.Rejected, Op: "the AWS configuration", Err: err}
	}
	cfg.Credentials, calls.credentials = own, own
	return &account{
		connection: c,
		iam: iam.NewFromConfig(cfg, func(s *iam.Options) {
			setEndpoint(&s.BaseEndpoint, o.Endpoint)
			s.EndpointResolverV2 = &resolvedOnce{EndpointResolverV2: iam.NewDefaultEndpointResolverV2()}
		}),
		sts:            sts.NewFromConfig(cfg, func(s *sts.Options) { setEndpoint(&s.BaseEndpoint, o.Endpoint) }),
		retryer:        calls,
		join:           func(number string) { p.budgets.Join(calls.budget, number) },
		backoff:        o.Backoff,
		attemptTimeout: o.AttemptTimeout,
		log:            log,
	}, nil
}

// load reads the SDK's configuration. Unless the SDK's chain is used, its settings do
// no harm if they are wrong, except for an AWS_PROFILE that does not exist, which the
// SDK always refuses.
func (p *Provider) load(ctx context.Context, region string, calls *retryer, usesChain bool) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithRegion(region),
		config.WithHTTPClient(p.http),
		config.WithRetryer(func() aws.Retryer { return calls }),
		config.WithLogger(sdkLogger(p.options.Log)),
	}
	if !usesChain {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	return config.LoadDefaultConfig(ctx, load...)
}

// withoutLimit returns a configuration for the calls that get credentials: with a
// retryer of their own, so that these few calls do not wait behind the calls that wait
// for them.
func withoutLimit(cfg aws.Config, o Options) aws.Config {
	cfg = cfg.Copy()
	o.Rate = 0
	calls := newRetryer(o)
	cfg.Retryer = func() aws.Retryer { return calls }
	return cfg
}

// httpClient returns the SDK's own kind of client: with AWS_CA_BUNDLE set, the SDK
// accepts no other.
func httpClient(o Options) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithTimeout(o.AttemptTimeout).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = 0 // no limit over all hosts
			t.MaxIdleConnsPerHost = o.MaxConns
			t.MaxConnsPerHost = o.MaxConns
			t.WriteBufferSize = writeBuffer
		})
}

// sdkLogger logs what the SDK would write to standard error.
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
