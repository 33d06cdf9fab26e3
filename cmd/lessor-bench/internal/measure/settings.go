package measure

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// Settings is the command that measures a broker, and beside it what could be had
// without one.
type Settings struct {
	cli.Connection // of a broker that runs already; no server and no context: everything is embedded
	Identity, Secret, Soft,
	IAMEndpoint string
	RealAWS bool

	Requesters, Leases, Live, Due, Day int
	Replicas, Nodes                    int
	Latency, Within                    time.Duration
	Rate                               float64
	Durable, JSON, Check               bool
	Only                               []string
	Profiles                           string

	Sizes    []int
	Sized    bool // --sizes was given
	Pictures string
}

// Sizes of what is loaded and of what falls due at once, by default.
const (
	DefaultLeases        = 100_000
	DefaultLeasesDurable = 20_000 // each is a write that waits for the disk
)

// DefaultDay is how many leases the part day has by default: a minute's work.
const DefaultDay = 24_000

// DefaultRequestersDurable is how many requesters there are by default where each write
// waits for the disk: what is written together waits once.
const DefaultRequestersDurable = 128

// remote says whether the broker to measure runs elsewhere.
func (b *Settings) remote() bool { return b.Server != "" || b.Context != "" }

func (b *Settings) Validate(env *cli.Environment) error {
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"requesters", b.Requesters, 1, 10_000}, {"leases", b.Leases, 1, 1_000_000}, {"live", b.Live, 1, 10_000_000},
		{"due", b.Due, 1, 10_000_000}, {"day", b.Day, hoursOfADay, 100_000_000}, {"replicas", b.Replicas, 2, 16},
	} {
		if n.value < n.low || n.value > n.high {
			return cli.Usagef("--%s is %d; it may be %d to %d", n.flag, n.value, n.low, n.high)
		}
	}
	switch {
	case b.Nodes != 1 && b.Nodes != 3 && b.Nodes != 5:
		return cli.Usagef("--nodes is %d; it may be 1, 3 or 5", b.Nodes)
	case b.Latency < 0 || b.Latency > 5*time.Second:
		return cli.Usagef("--latency is %s; it may be 0s to 5s", b.Latency)
	case b.Within < 0:
		return cli.Usagef("--within is %s; it may not be negative", b.Within)
	case b.Rate < 0:
		return cli.Usagef("--rate is %g; it may not be negative", b.Rate)
	case b.remote() && b.Durable:
		return cli.Usagef("--durable is for the embedded NATS server; leave it away with --server or --context")
	case b.IAMEndpoint != "" && b.Rate > 0:
		return cli.Usagef("--rate is for the simulated AWS; leave it away with --iam-endpoint")
	}
	if err := b.checkEndpoint(); err != nil {
		return err
	}
	if err := b.checkParts(); err != nil {
		return err
	}
	if err := b.checkGrowth(); err != nil {
		return err
	}
	if !b.remote() {
		return nil // variables that lead elsewhere are not looked at
	}
	for flag, name := range map[string]string{"--identity": b.Identity, "--secret": b.Secret, "--soft-secret": b.Soft} {
		if name == "" && flag == "--soft-secret" {
			continue
		}
		if err := cli.CheckToken(flag, name); err != nil {
			return err
		}
	}
	return b.Connection.Check(env)
}

// checkEndpoint keeps the bench away from an AWS that is not on this machine, unless
// that is asked for.
func (b *Settings) checkEndpoint() error {
	if b.IAMEndpoint == "" {
		return nil
	}
	u, err := url.Parse(b.IAMEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return cli.Usagef("--iam-endpoint is no URL of IAM and STS, such as http://127.0.0.1:4599")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() || b.RealAWS {
		return nil
	}
	return cli.Usagef("--iam-endpoint %s is not on this machine; add --real-aws if users are to be made and deleted there", u.Host)
}

// checkParts fills in which parts run.
func (b *Settings) checkParts() error {
	var known, usual []string
	for _, p := range parts {
		known = append(known, p.name)
		if !p.extra {
			usual = append(usual, p.name)
		}
	}
	for _, name := range b.Only {
		if !slices.Contains(known, name) {
			return cli.Usagef("--only names %q; the parts are %s", name, strings.Join(known, ", "))
		}
	}
	chosen := len(b.Only) > 0
	if !chosen {
		b.Only = usual
	}
	for _, p := range parts {
		if b.elsewhere(p) && slices.Contains(b.Only, p.name) {
			if chosen {
				return cli.Usagef("--only names %q, which needs a NATS server and an AWS account of its own; leave --server, --context and --iam-endpoint away", p.name)
			}
			b.Only = slices.DeleteFunc(b.Only, func(name string) bool { return name == p.name })
		}
	}
	return nil
}

// elsewhere says whether what a part must have to itself is elsewhere.
func (b *Settings) elsewhere(p part) bool {
	return p.alone && (b.remote() || b.IAMEndpoint != "")
}
