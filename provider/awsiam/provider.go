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

	"github.com/lessorhq/lessor/provider"
)

// Defaults of [Options].
const (
	DefaultAttemptTimeout = 10 * time.Second
	DefaultMaxConns       = 1024
)

// Options are how to reach AWS. The zero value reaches the real one.
type Options struct {
	// Endpoint is the URL of both IAM and STS, for a simulator; "" is what the
	// SDK chooses by the region and by AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_IAM and
	// AWS_ENDPOINT_URL_STS.
	Endpoint string
	// Credentials are the broker's own, for the method default, and for
	// assume_role where no key of its own is in the environment; nil is the SDK's
	// chain: environment, shared files, container, IMDS.
	Credentials aws.CredentialsProvider
	// AttemptTimeout bounds one attempt at a call, from the wait for a connection
	// to the last byte of the answer; 0 is [DefaultAttemptTimeout]. The context
	// bounds the whole.
	AttemptTimeout time.Duration
	// MaxConns bounds the connections to each of IAM and STS, and is how many are
	// kept; 0 is [DefaultMaxConns]. A lease has up to 22 calls in flight at once,
	// most have 4.
	MaxConns int
	// Getenv reads the environment, for the methods that name their variables
	// themselves; nil is os.Getenv.
	Getenv func(string) string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Rate is the most calls a second to one account, through all connections to it;
	// 0 is as many as AWS takes: until it first says Throttling nothing is held back.
	// A second connection to an account counts with the first once Identify has said
	// which account it is.
	Rate float64
	// Backoff is how long to wait after the try-th failed attempt at a call, from
	// 1 on; nil is 100 ms, doubled each time up to 5 s, less up to half of it at
	// random.
	Backoff func(try int) time.Duration
	// Called is told of every attempt at a call: the action, such as CreateUser, and
	// what came of it. nil: nobody is.
	Called func(action string, came Came)
	// Log is told what nobody else would notice; its zero value is silent.
	Log zerolog.Logger
}

// Provider reaches AWS accounts. It is safe for concurrent use.
type Provider struct {
	options Options
	http    *awshttp.BuildableClient
	budgets budgets

	mu       sync.Mutex
	sender   aws.HTTPClient // http as the environment wants it; nil before the first connection
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
	if o.Called == nil {
		o.Called = func(string, Came) {}
	}
	return &Provider{options: o, http: httpClient(o), accounts: map[string]*account{}}
}

// Connect returns the account that c reaches, the same one each time as long as
// c is the same. It reads the SDK's environment and files, and fails where they
// are malformed.
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
	return d - rand.N(d/2) // #nosec G404 -- brokers are to ask at different times, and no more
}
