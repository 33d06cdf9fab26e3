package awsauth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/lessorhq/lessor/provider"
)

// identityToken is a web identity token.
type identityToken string

// GetIdentityToken returns the token.
func (t identityToken) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

// token returns the content of the file that a variable names, without white space
// around it: a line end is not part of the token.
func (c Config) token(variable string) (string, error) {
	file := c.Getenv(variable)
	if file == "" {
		return "", lacking(provider.Rejected, nil, "%s is not set", variable)
	}
	data, err := os.ReadFile(file) // #nosec G304 -- the broker's environment names it
	if err != nil {
		return "", lacking(provider.Unavailable, err, "the file that %s names can't be read", variable)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", lacking(provider.Unavailable, nil, "the file that %s names is empty", variable)
	}
	return token, nil
}

// podIdentity gets a session from EKS Pod Identity's agent. It reads the token each
// time, because the kubelet replaces it.
func (c Config) podIdentity(ctx context.Context) (aws.Credentials, error) {
	agent := c.Getenv(envAgentURL)
	if agent == "" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "%s is not set", envAgentURL)
	}
	if err := checkAgent(agent); err != nil {
		return aws.Credentials{}, lacking(provider.Rejected, err, "%s is neither https nor on this machine", envAgentURL)
	}
	token, err := c.token(envAgentToken)
	if err != nil {
		return aws.Credentials{}, err
	}
	return endpointcreds.New(agent, func(o *endpointcreds.Options) {
		o.AuthorizationToken = token
		o.HTTPClient = c.Agent
		o.Retryer = c.AWS.Retryer()
		o.APIOptions = c.AWS.APIOptions
	}).Retrieve(ctx)
}

// agentAddresses are the addresses of EKS Pod Identity's agent, which are reachable
// from its own node only.
var agentAddresses = []netip.Addr{netip.MustParseAddr("169.254.170.23"), netip.MustParseAddr("fd00:ec2::23")}

// checkAgent returns an error for an address to which the token would be sent in
// clear over a network. It does not resolve host names, because they may change.
func checkAgent(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("it is not a URL") // err contains the address
	}
	switch {
	case u.Hostname() == "":
		return errors.New("it names no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return errors.New("it is neither https nor http")
	case u.Hostname() == "localhost":
		return nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsLoopback() || slices.Contains(agentAddresses, ip)) {
		return nil
	}
	return errors.New("http is for the loopback interface, 169.254.170.23 and [fd00:ec2::23] only")
}

// AgentClient returns a client for the agent: c, except that requests over http do
// not use a proxy, since they are for this machine.
func AgentClient(c aws.HTTPClient) aws.HTTPClient {
	b, ok := c.(*awshttp.BuildableClient)
	if !ok {
		return c
	}
	return b.WithTransportOptions(func(t *http.Transport) {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == "http" {
				return nil, nil
			}
			return http.ProxyFromEnvironment(r)
		}
	})
}
