package measure

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// part is one of the measurements. Each starts a world of its own.
type part struct {
	name, what string
	exclusive  bool // it needs a NATS server and an AWS account of its own
	onRequest  bool // it runs only if --only names it
	limit      time.Duration
	run        func(*bench, context.Context) error
}

// parts are all parts, in the order in which they run.
var parts = []part{
	{"latency", "one lease after another: time, calls and round trips; expiry", false, false, 5 * time.Minute, (*bench).measureLatency},
	{"throughput", "many leases at the same time, with an AWS without latency", false, false, 30 * time.Minute, (*bench).measureThroughput},
	{"renewals", "many renewals at the same time, without hard expiry", false, false, 30 * time.Minute, (*bench).measureRenewals},
	{"requesters", "many requesters, with an AWS that has --latency", false, false, 30 * time.Minute, (*bench).measureRequesters},
	{"restore", "a broker starts and loads many live leases", true, false, 10 * time.Minute, (*bench).measureRestore},
	{"due", "many leases are due in the same second", true, false, 10 * time.Minute, (*bench).measureDue},
	{"replicas", "several brokers on a cluster, compared with one", true, false, 30 * time.Minute, (*bench).measureReplicas},
	{partDay, "leases that last an hour, for a day of a simulated clock", true, true, 12 * time.Hour, (*bench).measureDay},
	{partGrowth, "restore, with each of --sizes", true, true, 2 * time.Hour, (*bench).measureGrowth},
}

// PartsHelp returns a line of help for each part.
func PartsHelp() string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "  %-11s %s", p.name, p.what)
		if p.onRequest {
			b.WriteString("; only if --only names it")
		}
		b.WriteString("\n")
	}
	return b.String()
}
