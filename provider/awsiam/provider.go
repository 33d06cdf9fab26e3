package awsiam

import (
	"cmp"
	"context"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// Defaults of [Options].
const (
	DefaultAttemptTimeout = 10 * time.Second
	DefaultMaxConns       = 1024
)

// Options states how to reach AWS. Its zero value reaches AWS itself.
type Options struct {
	// Endpoint is the URL of both IAM and STS, for a simulator; "" means the SDK's
	// choice, by region, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_IAM and
	// AWS_ENDPOINT_URL_STS.
	Endpoint string
	// Credentials are the broker's own, for the method default, and for assume_role
	// without a base key in the environment; nil means the SDK's chain: environment,
	// shared files, container, IMDS.
	Credentials aws.CredentialsProvider
	// AttemptTimeout bounds one attempt at a call, from the wait for a connection to
	// the last byte of the answer; 0 means [DefaultAttemptTimeout]. The context bounds
	// the call with all its attempts.
	AttemptTimeout time.Duration
	// MaxConns is the most connections to each of IAM and STS, all of which are kept
	// open; 0 means [DefaultMaxConns]. A lease has up to 22 calls in flight at once,
	// usually 4.
	MaxConns int
	// Getenv reads the environment variables of the authentication methods; nil means
	// os.Getenv.
	Getenv func(string) string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rate is the most calls a second to one account, through all connections to it; 0
	// means no limit until AWS first throttles a call. Connections to one account share
	// the limit once Identify has returned the account.
	Rate float64
	// Backoff returns how long to wait after a failed attempt at a call; try counts
	// from 1. nil means 100 ms, doubled each time up to 5 s, less up to half of it at
	// random.
	Backoff func(try int) time.Duration
	// OnCall is called after every attempt at a call with the action, such as
	// CreateUser, and the result; nil does nothing.
	OnCall func(action string, r CallResult)
	// Log receives what no returned error reports. Its zero value is silent.
	Log zerolog.Logger
}

// Provider reaches AWS accounts. It is safe for concurrent use.
type Provider struct {
	options Options
	http    *awshttp.BuildableClient
	budgets throttle.Accounts

	mu       sync.Mutex
	sender   aws.HTTPClient // http with the environment's settings; nil before the first connection
	accounts map[string]*account
}

var _ provider.Provider = (*Provider)(nil)

// New returns a provider. It makes no call.
func New(o Options) *Provider {
	o.AttemptTimeout = cmp.Or(o.AttemptTimeout, DefaultAttemptTimeout)
	o.MaxConns = cmp.Or(o.MaxConns, DefaultMaxConns)
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	if o.OnCall == nil {
		o.OnCall = func(string, CallResult) {}
	}
	return &Provider{options: o, http: httpClient(o), accounts: map[string]*account{}}
}

// Check validates a definition; see [definition.Check].
func (p *Provider) Check(s messages.DynamicSecret) error { return definition.Check(s) }

// Notes returns warnings about a definition; see [definition.Notes].
func (p *Provider) Notes(s messages.DynamicSecret) []string { return definition.Notes(s) }

// Connect returns the account that c reaches: the same one each time, unless c has
// changed. It reads the environment and the files of the SDK, and returns an error if
// they are malformed.
func (p *Provider) Connect(ctx context.Context, c provider.Connection) (provider.Account, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.accounts[c.Name]; ok && reflect.DeepEqual(a.connection, c) {
		return a, nil
	}
	a, err := p.connect(ctx, c)
	if err != nil {
		return nil, err
	}
	p.accounts[c.Name] = a
	return a, nil
}

func backoff(try int) time.Duration {
	const first, last = 100 * time.Millisecond, 5 * time.Second
	d := min(first<<min(try-1, 10), last)
	return d - rand.N(d/2) // #nosec G404 -- spreads the replicas' retries
}
