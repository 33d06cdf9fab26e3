package awsiam

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestConnectReturnsTheSameAccountForTheSameConnection(t *testing.T) {
	p := New(Options{Credentials: static("AKIA", "secret")})
	connect := func(name, region string) provider.Account {
		a, err := p.Connect(t.Context(), provider.Connection{Name: name, Region: region, Auth: messages.Auth{Method: messages.AuthDefault}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := connect("a", "eu-central-1")
	if connect("a", "eu-central-1") != first {
		t.Error("the same connection has two accounts")
	}
	if connect("b", "eu-central-1") == first {
		t.Error("two connections have the same account")
	}
	if connect("a", "eu-west-1") == first {
		t.Error("a changed connection has the old account")
	}
}

func TestConnectRejectsAnUnknownMethod(t *testing.T) {
	_, err := New(Options{}).Connect(t.Context(), provider.Connection{Region: "eu-central-1", Auth: messages.Auth{Method: "magic"}})
	expectError(t, err, provider.Rejected, "")
}

// Endpoint and credentials come from the environment. AWS_CA_BUNDLE is set, which the SDK
// refuses with most HTTP clients.
func TestEnvironmentOfTheSDKIsUsed(t *testing.T) {
	b := newFixture(t)
	id, secret := b.AddPrincipal("environment")
	t.Setenv("AWS_ENDPOINT_URL", b.server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_CA_BUNDLE", certificate(t))
	b.account = b.connect(New(Options{}))
	b.expectWhole(b.create(), "1")
	if got := b.Calls()[0].AccessKeyID; got != id {
		t.Errorf("the calls are signed with the key %s", got)
	}
}

func TestOptionsEndpointTakesPrecedenceOverTheEnvironment(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	b := newFixture(t)
	b.expectWhole(b.create(), "1")
}

func certificate(t *testing.T) (file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// AWS accepts a call and never answers.
func TestAttemptTimesOut(t *testing.T) {
	t.Parallel()
	b := newFixture(t, func(o *Options) { o.AttemptTimeout = 50 * time.Millisecond })
	b.SetHook(func(ctx context.Context, _ iamsim.Call) iamsim.Verdict {
		<-ctx.Done()
		return iamsim.Verdict{Do: iamsim.DropBefore}
	})
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUnknown)
	if n := b.count("CreateUser"); n != sdkAttempts {
		t.Errorf("CreateUser was sent %d times", n)
	}
}

func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict {
		cancel()
		return iamsim.Verdict{Do: iamsim.DropBefore}
	})
	_, err := b.account.Create(ctx, lease())
	expectError(t, err, provider.Unavailable, provider.LeftUnknown)
}

func TestBackoffDoublesUpToFiveSeconds(t *testing.T) {
	for try, longest := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second,
	} {
		for range 100 {
			if d := backoff(try); d > longest || d < longest/2 {
				t.Fatalf("after try %d the wait is %s", try, d)
			}
		}
	}
}
