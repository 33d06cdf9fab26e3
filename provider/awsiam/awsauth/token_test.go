package awsauth

import (
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

func TestAgentOnAnotherMachineGetsNoTokenInClear(t *testing.T) {
	for address, good := range map[string]bool{
		"https://agent.example.com/v1/credentials": true,
		"http://127.0.0.1:8080/":                   true,
		"http://127.7.7.7/":                        true,
		"http://[::1]:80/":                         true,
		"http://localhost/":                        true,
		"http://169.254.170.23/v1/credentials":     true,
		"http://[fd00:ec2::23]/v1/credentials":     true,
		"http://169.254.170.2/":                    false,
		"http://169.254.169.254/":                  false,
		"http://10.0.0.1/":                         false,
		"http://[fd00:ec2::24]/":                   false,
		"http://localhost.example.com/":            false,
		"http://agent.example.com/":                false,
		"http://127.0.0.1@agent.example.com/":      false,
		"ftp://127.0.0.1/":                         false,
		"127.0.0.1":                                false,
		"https://":                                 false,
		"http://%zz/":                              false,
		"":                                         false,
	} {
		if err := checkAgent(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// The agent on the broker's own machine is called without a proxy.
func TestNoProxySeesThePodsToken(t *testing.T) {
	c, ok := AgentClient(awshttp.NewBuildableClient()).(interface{ GetTransport() *http.Transport })
	if !ok {
		t.Fatal("the client's transport is not accessible")
	}
	t.Setenv("HTTP_PROXY", "http://proxy.example.com")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.170.23/v1/credentials", nil)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := c.GetTransport().Proxy(r); proxy != nil || err != nil {
		t.Errorf("the proxy is %v: %v", proxy, err)
	}
}

func TestMissingTokenFileIsFoundOnceItExists(t *testing.T) {
	for variable, auth := range map[string]messages.Auth{
		envWebToken:   {Method: messages.AuthIRSA},
		envAgentToken: {Method: messages.AuthPodIdentity},
	} {
		b := newFixture(t)
		c := b.credentials(auth)
		token, err := os.ReadFile(b.Vars[variable])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(b.Vars[variable]); err != nil {
			t.Fatal(err)
		}
		b.fails(c, provider.Unavailable, "CreateUser", "", "no credentials for AWS: the file that "+variable+" names can't be read; its operator")
		b.Write(variable, "\n")
		b.fails(c, provider.Unavailable, "CreateUser", "", "the file that "+variable+" names is empty")
		if n := b.CredentialCalls(); n != 0 {
			t.Errorf("there were %d calls without a token", n)
		}
		b.Write(variable, string(token))
		b.identify(c)
	}
}

// FuzzCheckAgent checks that the token is sent in clear to no address on a network, as
// net/http reads the address.
func FuzzCheckAgent(f *testing.F) {
	for _, s := range []string{
		"http://169.254.170.23/v1/credentials", "http://[fd00:ec2::23]/v1", "http://localhost:80", "http://127.0.0.1", "http://[::1]:1/x", "https://x", "HTTP://LOCALHOST", "http://127.0.0.1@evil.example/",
		"http://evil.example#@localhost", "http://localhost.evil.example", "http://[::ffff:10.0.0.1]", "http://[::1%25eth0]", "http:localhost", "//localhost", "ftp://localhost", "http://0x7f.1", "http://:80", "\x7f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		err := checkAgent(address)
		if err != nil {
			if len(address) > 12 && strings.Contains(err.Error(), address) || len(err.Error()) > 200 {
				t.Errorf("the error shows the address: %v", err)
			}
			return
		}
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			return // no request can be made
		}
		switch r.URL.Scheme {
		case "https":
		case "http":
			host := r.URL.Hostname()
			ip, err := netip.ParseAddr(host)
			if host != "localhost" && (err != nil || !ip.IsLoopback() && ip.String() != "169.254.170.23" && ip.String() != "fd00:ec2::23") {
				t.Errorf("the token is sent to %q in clear: %q", host, address)
			}
		default:
			t.Errorf("%q is accepted", address)
		}
	})
}
