package iamsim_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// world is a simulated account and SDK clients with an administrator's key.
type world struct {
	*iamsim.Sim
	t     *testing.T
	url   string
	clock *clock
	iam   *iam.Client
	sts   *sts.Client
}

// clock is the account's clock, which advances only when a test says so.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newWorld(t *testing.T, o iamsim.Options) *world {
	t.Helper()
	c := &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	o.Now = c.now
	w := &world{Sim: iamsim.New(o), t: t, clock: c}
	server, err := w.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	w.url = server.URL
	id, secret := w.AddPrincipal("broker")
	w.iam = iam.NewFromConfig(w.config(id, secret, ""))
	w.sts = sts.NewFromConfig(w.config(id, secret, ""))
	return w
}

// in returns the same world for a subtest.
func (w *world) in(t *testing.T) *world {
	inner := *w
	inner.t = t
	return &inner
}

// config returns an SDK config without retries, so that tests see every response.
func (w *world) config(id, secret, token string) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(w.url),
		Credentials:  credentials.NewStaticCredentialsProvider(id, secret, token),
		HTTPClient:   &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: 10 * time.Second},
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// user creates a user over the wire.
func (w *world) user(name string) {
	w.t.Helper()
	_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
	w.want(err, "")
}

// key creates an access key for a user over the wire.
func (w *world) key(user string) (id, secret string) {
	w.t.Helper()
	out, err := w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
	w.want(err, "")
	return *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey
}

// identity calls GetCallerIdentity with a key.
func (w *world) identity(id, secret, token string) error {
	_, err := sts.NewFromConfig(w.config(id, secret, token)).GetCallerIdentity(ctx, nil)
	return err
}

// want fails unless err has the code; "" is success.
func (w *world) want(err error, code string) {
	w.t.Helper()
	if got := codeOf(err); got != code {
		w.t.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

// wantMessage fails unless err has the code and the message.
func (w *world) wantMessage(err error, code, message string) {
	w.t.Helper()
	w.want(err, code)
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorMessage() != message {
		w.t.Fatalf("message:\n got %s\nwant %s", e.ErrorMessage(), message)
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return err.Error()
}

// ctx is the context of all calls. The timeout of the HTTP client bounds them.
var ctx = context.Background()

func ptr[T any](v T) *T { return &v }
