package awsiam

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

// identityToken is a token that was read already.
type identityToken string

// GetIdentityToken returns the token.
func (t identityToken) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

// token reads the file that a variable names, without the blanks around it: a
// line's end is no part of a token.
func (a authentication) token(variable string) (string, error) {
	file := a.options.Getenv(variable)
	if file == "" {
		return "", lacking(provider.Rejected, nil, "%s is not set", variable)
	}
	data, err := os.ReadFile(file) // #nosec G304 -- whoever sets the broker's environment names it
	if err != nil {
		return "", lacking(provider.Unavailable, err, "the file that %s names can't be read", variable)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", lacking(provider.Unavailable, nil, "the file that %s names is empty", variable)
	}
	return token, nil
}

// podIdentity asks EKS Pod Identity's agent for a session. The token is read each
// time: the kubelet replaces it.
func (a authentication) podIdentity(ctx context.Context) (aws.Credentials, error) {
	agent := a.options.Getenv(envAgentURL)
	if agent == "" {
		return aws.Credentials{}, lacking(provider.Rejected, nil, "%s is not set", envAgentURL)
	}
	if err := checkAgent(agent); err != nil {
		return aws.Credentials{}, lacking(provider.Rejected, err, "%s is neither https nor on this machine", envAgentURL)
	}
	token, err := a.token(envAgentToken)
	if err != nil {
		return aws.Credentials{}, err
	}
	return endpointcreds.New(agent, func(o *endpointcreds.Options) {
		o.AuthorizationToken = token
		o.HTTPClient = a.agent
		o.Retryer = a.config.Retryer()
		o.APIOptions = a.config.APIOptions
	}).Retrieve(ctx)
}

// agents are the addresses of EKS Pod Identity's agent, which only its own node
// reaches.
var agents = []netip.Addr{netip.MustParseAddr("169.254.170.23"), netip.MustParseAddr("fd00:ec2::23")}

// checkAgent refuses an address to which the token would go in clear over a
// network. A name is looked up by nobody: it may change its mind.
func checkAgent(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("it is not a URL") // the URL's error has all of it
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
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsLoopback() || slices.Contains(agents, ip)) {
		return nil
	}
	return errors.New("http is for the loopback interface, 169.254.170.23 and [fd00:ec2::23] only")
}

// agentClient is a client for the agent: as the others, but that no proxy sees
// what is meant for this machine.
func agentClient(c aws.HTTPClient) aws.HTTPClient {
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
