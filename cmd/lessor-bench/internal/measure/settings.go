package measure

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// Settings are the flags of the benchmark.
type Settings struct {
	// Connection is that to a broker which is already running. Without a server and a
	// context the benchmark starts everything itself.
	cli.Connection
	Identity, Secret, SoftSecret string // for such a broker
	IAMEndpoint                  string
	RealAWS                      bool

	Requesters, Leases, Live, Due, Day int
	Replicas, Nodes                    int
	Latency, Within                    time.Duration
	Rate                               float64
	Durable, JSON, CheckBounds         bool
	Only                               []string // the parts that run; [Settings.Validate] fills it in
	ProfileFolder                      string

	Sizes       []int
	SizesGiven  bool // --sizes was given
	ChartFolder string
}

// Defaults of the flags --live and --due. With --durable each record that is written waits
// for the disk.
const (
	DefaultLeases        = 100_000
	DefaultLeasesDurable = 20_000
)

// DefaultDay is the default number of leases of the part day. It takes about a minute.
const DefaultDay = 24_000

// DefaultRequestersDurable is the default number of requesters with --durable: writes that
// are committed together wait for the disk once, so more of them are faster.
const DefaultRequestersDurable = 128

// remote reports whether the broker to measure is already running.
func (s *Settings) remote() bool { return s.Server != "" || s.Context != "" }

// Validate returns a usage error if the settings are invalid. It sets Only if that is
// empty.
func (s *Settings) Validate(env *cli.Environment) error {
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"requesters", s.Requesters, 1, 10_000}, {"leases", s.Leases, 1, 1_000_000}, {"live", s.Live, 1, 10_000_000},
		{"due", s.Due, 1, 10_000_000}, {"day", s.Day, hoursOfDay, 100_000_000}, {"replicas", s.Replicas, 2, 16},
	} {
		if n.value < n.low || n.value > n.high {
			return cli.Usagef("--%s is %d; it may be %d to %d", n.flag, n.value, n.low, n.high)
		}
	}
	switch {
	case s.Nodes != 1 && s.Nodes != 3 && s.Nodes != 5:
		return cli.Usagef("--nodes is %d; it may be 1, 3 or 5", s.Nodes)
	case s.Latency < 0 || s.Latency > 5*time.Second:
		return cli.Usagef("--latency is %s; it may be 0s to 5s", s.Latency)
	case s.Within < 0:
		return cli.Usagef("--within is %s; it may not be negative", s.Within)
	case s.Rate < 0:
		return cli.Usagef("--rate is %g; it may not be negative", s.Rate)
	case s.remote() && s.Durable:
		return cli.Usagef("--durable is for the embedded NATS server; remove it, or --server and --context")
	case s.IAMEndpoint != "" && s.Rate > 0:
		return cli.Usagef("--rate is for the simulated AWS; remove it, or --iam-endpoint")
	}
	if err := s.checkEndpoint(); err != nil {
		return err
	}
	if err := s.checkParts(); err != nil {
		return err
	}
	if err := s.checkGrowth(); err != nil {
		return err
	}
	return s.checkRemote(env)
}

// checkRemote checks the flags that are for a broker which is already running. Without
// one, environment variables that name a server are ignored.
func (s *Settings) checkRemote(env *cli.Environment) error {
	if !s.remote() {
		return nil
	}
	if err := cli.CheckToken("--identity", s.Identity); err != nil {
		return err
	}
	if err := cli.CheckToken("--secret", s.Secret); err != nil {
		return err
	}
	if s.SoftSecret != "" {
		if err := cli.CheckToken("--soft-secret", s.SoftSecret); err != nil {
			return err
		}
	}
	return s.Check(env)
}

// checkEndpoint rejects an AWS endpoint that is not on this machine, unless --real-aws is
// given.
func (s *Settings) checkEndpoint() error {
	if s.IAMEndpoint == "" {
		return nil
	}
	u, err := url.Parse(s.IAMEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return cli.Usagef("--iam-endpoint is not a URL of IAM and STS, such as http://127.0.0.1:4599")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() || s.RealAWS {
		return nil
	}
	return cli.Usagef("--iam-endpoint %s is not on this machine; add --real-aws to create and delete users there", u.Host)
}

// checkParts checks --only. If it is not given, it selects the default parts that can run.
func (s *Settings) checkParts() error {
	var known, usual []string
	for _, p := range parts {
		known = append(known, p.name)
		if !p.onRequest {
			usual = append(usual, p.name)
		}
	}
	for _, name := range s.Only {
		if !slices.Contains(known, name) {
			return cli.Usagef("--only names %q; the parts are %s", name, strings.Join(known, ", "))
		}
	}
	chosen := len(s.Only) > 0
	if !chosen {
		s.Only = usual
	}
	for _, p := range parts {
		if !s.impossible(p) || !slices.Contains(s.Only, p.name) {
			continue
		}
		if chosen {
			return cli.Usagef("--only names %q, which needs a NATS server and an AWS account of its own; remove --server, --context and --iam-endpoint", p.name)
		}
		s.Only = slices.DeleteFunc(s.Only, func(name string) bool { return name == p.name })
	}
	return nil
}

// impossible reports whether a part needs systems of its own that the settings replace.
func (s *Settings) impossible(p part) bool {
	return p.exclusive && (s.remote() || s.IAMEndpoint != "")
}
