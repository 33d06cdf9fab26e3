package definition

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// fixture is a simulated AWS account, which checks the generated policies.
type fixture struct {
	*iamsim.Sim
	url string
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	sim := iamsim.New(iamsim.Options{})
	server, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return fixture{sim, server.URL}
}

// keyOf returns the credentials of a new principal.
func (b fixture) keyOf(name, policy string) aws.CredentialsProvider {
	id, secret := b.AddPrincipalWithPolicy(name, policy)
	return credentials.NewStaticCredentialsProvider(id, secret, "")
}

func codeOf(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	return e.ErrorCode()
}

// options are the options of the tests' broker.
func options() PermissionOptions {
	return PermissionOptions{Account: awstest.AccountID, Installation: "inst"}
}

func permissions(t *testing.T, s messages.DynamicSecret, o PermissionOptions) string {
	t.Helper()
	document, err := Permissions(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

func trustPolicy(t *testing.T, kind TrustKind, o TrustOptions) string {
	t.Helper()
	document, err := Trust(kind, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}
