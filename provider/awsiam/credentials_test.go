package awsiam

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

func TestABrokerWithoutCredentialsSaysSo(t *testing.T) {
	nobody := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no role here")
	})
	p := New(Options{Endpoint: "http://127.0.0.1:1", Credentials: nobody})
	c := provider.ConnectionOf(messages.DynamicSecret{}.WithDefaults(), "")
	account, err := p.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = account.Create(t.Context(), provider.Creation{User: record.User{Name: "u", Path: "/"}, Owner: provider.Owner{Attempt: 1}})
	e := provider.AsError(err)
	if !e.Unsigned || e.Left != provider.LeftNothing || e.Kind != provider.Unavailable || !strings.Contains(e.Safe(), "no credentials") {
		t.Fatalf("%+v", e)
	}
	if _, err := account.Identify(t.Context()); err == nil || !strings.Contains(err.Error(), "no role here") {
		t.Fatalf("%v", err)
	}
}
