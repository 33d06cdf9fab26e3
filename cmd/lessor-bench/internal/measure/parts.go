package measure

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// part measures something in a world of its own.
type part struct {
	name, what string
	alone      bool // it needs a NATS server and an AWS account to itself
	extra      bool // it runs only where it is named
	limit      time.Duration
	run        func(*bench, context.Context) error
}

// parts are all, in the order in which they run.
var parts = []part{
	{"latency", "one lease after another: time, calls and round trips; expiry", false, false, 5 * time.Minute, (*bench).measureLatency},
	{"throughput", "many leases at once, with an AWS that takes no time", false, false, 30 * time.Minute, (*bench).measureThroughput},
	{"renewals", "many renewals at once, without hard expiry", false, false, 30 * time.Minute, (*bench).measureRenewals},
	{"requesters", "many requesters, with an AWS that takes its time", false, false, 30 * time.Minute, (*bench).measureRequesters},
	{"restore", "a broker starts and finds many live leases", true, false, 10 * time.Minute, (*bench).measureRestore},
	{"due", "many leases fall due in the same second", true, false, 10 * time.Minute, (*bench).measureDue},
	{"replicas", "several brokers on a cluster, and one", true, false, 30 * time.Minute, (*bench).measureReplicas},
	{partDay, "a day of leases that last an hour, by a clock that is moved", true, true, 12 * time.Hour, (*bench).measureDay},
	{partGrowth, "what restore does, with each of --sizes", true, true, 2 * time.Hour, (*bench).measureGrowth},
}

func PartsHelp() string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "  %-11s %s", p.name, p.what)
		if p.extra {
			b.WriteString("; runs where --only names it")
		}
		b.WriteString("\n")
	}
	return b.String()
}
