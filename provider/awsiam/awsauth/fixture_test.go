package awsauth

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// TestMain unsets AWS's environment variables, which are the developer's.
func TestMain(m *testing.M) {
	if err := awstest.UnsetAWS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const attempts = 4 // that the SDK makes at a call

// fixture is an account, and a broker that authenticates to it.
type fixture struct {
	*awstest.Env
	t   *testing.T
	own aws.CredentialsProvider // Config.Own
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return &fixture{Env: awstest.NewEnv(t), t: t}
}

// config returns the configuration of a method.
func (b *fixture) config(auth messages.Auth) Config {
	b.t.Helper()
	c := Config{
		Auth: auth, SessionName: "inst-1", Own: b.own, Endpoint: b.Server.URL, Timeout: time.Minute,
		Getenv: b.Getenv, Now: b.Clock.Now, Log: zerolog.New(b.Log),
	}
	load := []func(*config.LoadOptions) error{
		config.WithRegion("eu-central-1"),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = attempts
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
			})
		}),
	}
	if !c.UsesChain() {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	var err error
	if c.AWS, err = config.LoadDefaultConfig(b.t.Context(), load...); err != nil {
		b.t.Fatal(err)
	}
	c.Agent = AgentClient(c.AWS.HTTPClient)
	return c
}

// credentials returns the credentials of a method.
func (b *fixture) credentials(auth messages.Auth) *Cache {
	b.t.Helper()
	c, err := New(b.config(auth))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// identify returns the ARN of the principal. It makes one call with the credentials.
func (b *fixture) identify(c *Cache) string {
	b.t.Helper()
	client := sts.New(sts.Options{Region: "eu-central-1", BaseEndpoint: &b.Server.URL, Credentials: c})
	who, err := client.GetCallerIdentity(b.t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		b.t.Fatal(err)
	}
	return aws.ToString(who.Arn)
}

// refreshed waits until no refresh is in progress, and makes a call.
func (b *fixture) refreshed(c *Cache) {
	b.t.Helper()
	c.Wait()
	b.identify(c)
}

// fails expects that there are no credentials for a call CreateUser: its error states
// why, and contains no secret.
func (b *fixture) fails(c *Cache, kind provider.Kind, op, code, safe string) {
	b.t.Helper()
	got, err := c.Retrieve(b.t.Context())
	e, ok := errors.AsType[*Error](err)
	if !ok || got.HasKeys() || !IsUnsigned(err) {
		b.t.Errorf("got %v", err)
		return
	}
	f := e.Failure("CreateUser", err)
	if f.Kind != kind || f.Op != op || f.Code != code || !f.Unsigned || !strings.Contains(f.Safe(), safe) {
		b.t.Errorf("the error is %+v: %s", f, f.Safe())
	}
	b.ExpectNoSecret(f.Error(), f.Safe(), f.Public().Message, fmt.Sprintf("%+v %#v", f, f))
}
