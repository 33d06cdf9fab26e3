//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/floor"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// figure returns a figure of a report.
func figure(t *testing.T, r *report.Report, part, name string) report.Figure {
	t.Helper()
	for _, f := range r.Figures {
		if f.Part == part && f.Name == name {
			return f
		}
	}
	t.Fatalf("the part %[2]s has no figure %[1]s", name, part)
	return report.Figure{}
}

// finish waits until the benchmark ends, checks that it succeeded and printed nothing but
// its report, and returns the report.
func finish(t *testing.T, p *clitest.Process) *report.Report {
	t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(10 * clitest.Patience): // its time limits end it
		t.Fatalf("the benchmark does not end: %s", p.Stderr)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(p.Stdout.String()), &r); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", p.Exit(), err, p.Stdout, p.Stderr)
	}
	if code := p.Exit(); code != cli.ExitOK || p.Stderr.String() != "" {
		t.Errorf("exit code %d, %q", code, p.Stderr)
	}
	if found := secretLike.FindString(p.Stdout.String()); found != "" {
		t.Errorf("the report has %q", found)
	}
	return &r
}

// What the floors of figures are.
const (
	sdkFloor    = "the same calls of the SDK, no broker"
	writesFloor = "the same writes to JetStream, no broker"
)

// secretLike matches what looks like a secret access key or the seed of an nkey.
var secretLike = regexp.MustCompile(`[A-Za-z0-9/+]{40}|S[A-Z][A-Z2-7]{56}`)

// TestDefaultPartsReportAllFigures runs a small benchmark. Each figure must be there, and
// those that do not depend on the machine must have their exact values.
func TestDefaultPartsReportAllFigures(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "profiles")
	temp := t.TempDir()
	p := clitest.Start(t, map[string]string{"TMPDIR": temp}, "--json", "--profile", dir,
		"--leases", "4", "--requesters", "3", "--latency", "5ms", "--live", "100", "--due", "40")
	r := finish(t, p)
	checkFigures(t, r)
	checkExactFigures(t, r)
	checkFloors(t, r)
	checkProfiles(t, dir)
	if r.CPUs < 1 || !strings.HasPrefix(r.Go, "go") || r.Latency != "5ms" || r.Requesters != 3 || r.Where != report.Embedded || r.Durable {
		t.Errorf("the conditions are %+v", r)
	}
	if rest, err := os.ReadDir(temp); err != nil || len(rest) > 0 {
		t.Errorf("files are left: %v, %v", rest, err)
	}
}

// checkFigures checks that each figure of the default parts has a value and a label.
func checkFigures(t *testing.T, r *report.Report) {
	t.Helper()
	for part, names := range map[string]string{
		"latency": "issue_p50 issue_p99 renew_p50 renew_p99 revoke_p50 revoke_p99 renew_soft_p50 renew_soft_p99 expiry_lag_p50 expiry_lag_p99 " +
			"issue_calls issue_round_trips renew_calls renew_round_trips revoke_calls revoke_round_trips",
		"throughput": "issue revoke issue_p50 issue_p99 revoke_p50 revoke_p99 issue_cpu revoke_cpu calls issue_writes revoke_writes issue_by_writes revoke_by_writes",
		"renewals":   "renew renew_writes renew_p50 renew_p99",
		"requesters": "issue revoke issue_p50 issue_p99 revoke_p50 revoke_p99",
		"restore":    "restored restore_time missed memory memory_peak",
		"due":        "published lag_p50 lag_p99 published_rate",
		"replicas":   "issue revoke",
	} {
		for name := range strings.FieldsSeq(names) {
			f := figure(t, r, part, name)
			if f.Value <= 0 || f.What == "" || f.Floor != nil && (*f.Floor <= 0 || f.FloorWhat == "") {
				t.Errorf("%s: %+v", part, f)
			}
		}
	}
	if slices.ContainsFunc(r.Figures, func(f report.Figure) bool { return f.Part == "growth" || f.Part == "day" }) {
		t.Error("parts that run only if --only names them have run")
	}
}

// checkProfiles checks that there are two profiles of each default part.
func checkProfiles(t *testing.T, dir string) {
	t.Helper()
	for _, part := range []string{"latency", "throughput", "renewals", "requesters", "restore", "due", "replicas"} {
		for _, file := range []string{part + ".cpu.pprof", part + ".allocs.pprof"} {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
				t.Errorf("no profile %s: %v", file, err)
			}
		}
	}
}

// checkExactFigures checks the figures that count calls and writes.
func checkExactFigures(t *testing.T, r *report.Report) {
	t.Helper()
	for name, want := range map[[2]string]float64{
		{"latency", "issue_calls"}: 5, {"latency", "revoke_calls"}: 5, {"latency", "renew_calls"}: 1, {"latency", "list_calls"}: 0,
		{"throughput", "calls"}: 10, {"throughput", "list_calls"}: 0, {"throughput", "issue_writes"}: 5, {"throughput", "revoke_writes"}: 4,
		{"renewals", "renew_writes"}: 3, {"replicas", "doubled"}: 0,
	} {
		if f := figure(t, r, name[0], name[1]); f.Value != want {
			t.Errorf("%s: %g %s; want %g", name[0], f.Value, f.What, want)
		}
	}
	for _, name := range []string{"issue_calls", "revoke_calls"} {
		if f := figure(t, r, "latency", name); f.Floor == nil || *f.Floor != floor.CallsPerLease {
			t.Errorf("the floor makes a different number of calls: %+v", f)
		}
	}
}

// checkFloors checks what the figures are compared with.
func checkFloors(t *testing.T, r *report.Report) {
	t.Helper()
	for name, floor := range map[[2]string]string{
		{"latency", "issue_p50"}: sdkFloor, {"throughput", "issue"}: sdkFloor, {"throughput", "issue_by_writes"}: writesFloor,
		{"renewals", "renew"}: writesFloor, {"requesters", "issue"}: sdkFloor,
	} {
		if f := figure(t, r, name[0], name[1]); f.FloorWhat != floor {
			t.Errorf("the floor of %s %s is %q", name[0], name[1], f.FloorWhat)
		}
	}
}

// TestPartDay runs a day of two leases an hour.
func TestPartDay(t *testing.T) {
	t.Parallel()
	r := finish(t, clitest.Start(t, nil, "--json", "--only", "day", "--day", "48", "--requesters", "2"))
	for _, name := range []string{"late_cpu", "late_time"} {
		if f := figure(t, r, "day", name); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 || f.Bound != "" {
			t.Errorf("%+v", f)
		}
	}
	if f := figure(t, r, "day", "late_cpu"); !strings.Contains(f.What, "48 leases") {
		t.Errorf("%+v", f)
	}
}

// TestPartGrowth checks that there are figures and points in the charts for each size.
func TestPartGrowth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "created", "charts")
	r := finish(t, clitest.Start(t, nil, "--json", "--only", "growth", "--sizes", "100,200", "--svg", dir))
	var got []string
	for _, f := range r.Figures {
		got = append(got, fmt.Sprintf("%d %s %t", f.Leases, f.Name, f.Floor != nil))
		if f.Part != "growth" || f.Value <= 0 && !strings.HasPrefix(f.Name, "memory") && f.Name != "idle" { // so few leases are lost in the noise
			t.Errorf("%+v", f)
		}
		if f.Name == "restore_time" && f.What != fmt.Sprintf("until all %d are loaded", f.Leases) {
			t.Errorf("%+v", f)
		}
	}
	var want []string
	for _, size := range []string{"100", "200"} {
		for _, name := range []string{"restored true", "restore_time true", "restored_cpu true", "missed false", "memory false", "memory_peak false", "idle false"} {
			want = append(want, size+" "+name)
		}
	}
	if want = append(want, "0 cpu true"); !slices.Equal(got, want) {
		t.Errorf("the figures are %q", got)
	}
	var table strings.Builder
	if err := r.Print(&table, false); err != nil {
		t.Fatal(err)
	}
	if strings.Count(table.String(), "GROWTH, 100 LEASES") != 1 || strings.Count(table.String(), "GROWTH, 200 LEASES") != 1 {
		t.Errorf("the report:\n%s", table.String())
	}
	for _, name := range []string{"restore", "memory", "due"} {
		chart, err := os.ReadFile(filepath.Join(dir, "growth-"+name+".svg"))
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.Count(string(chart), `class="p0"`) != 2 || !strings.Contains(string(chart), ">"+r.Machine()+"</text>") {
			t.Errorf("%s is\n%s", name, chart)
		}
	}
}

// TestDurableIsComparedWithTheWrites checks that the bound of a durable server is that of
// the flushed writes and not that of the SDK.
func TestDurableIsComparedWithTheWrites(t *testing.T) {
	t.Parallel()
	p := clitest.Start(t, nil, "--durable", "--only", "throughput", "--leases", "4", "--requesters", "3", "--json")
	r := finish(t, p)
	if f := figure(t, r, "throughput", "issue_by_writes"); !r.Durable || f.Bound != "≥ 750 or ≥ 0.80 × floor" || f.Holds == nil {
		t.Errorf("durable: %v, %+v", r.Durable, f)
	}
	if f := figure(t, r, "throughput", "issue"); f.Bound != "" {
		t.Errorf("without fsync: %+v", f)
	}
}

// TestRunningBroker measures a broker that is already running, and then an embedded one
// with an AWS endpoint that is already running. No user may be left there.
func TestRunningBroker(t *testing.T) {
	sim := iamsim.New(iamsim.Options{})
	sim.AddGroup("demo")
	id, secret := sim.AddPrincipal("broker")
	aws, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() }) // the test ends
	key := map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret}
	for name, value := range key { // for the broker of this process
		t.Setenv(name, value)
	}
	running, err := sandbox.Start(t.Context(), sandbox.Options{NATSListen: "127.0.0.1:0", IAMEndpoint: aws.URL, MinTTL: messages.Duration(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = running.Close() }) // the test ends
	p := clitest.Start(t, key, "--json", "--server", running.NATS.URL(), "--iam-endpoint", aws.URL, "--leases", "4", "--requesters", "3")
	r := finish(t, p)
	var parts []string
	for _, f := range r.Figures {
		if !slices.Contains(parts, f.Part) {
			parts = append(parts, f.Part)
		}
		if f.Holds != nil {
			t.Errorf("a bound of a running broker: %+v", f)
		}
	}
	if !slices.Equal(parts, []string{"latency", "throughput", "renewals", "requesters"}) || r.Where != report.Elsewhere {
		t.Errorf("the parts are %q, of a broker %s", parts, r.Where)
	}
	if f := figure(t, r, "throughput", "issue"); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 {
		t.Errorf("throughput: %+v", f)
	}
	embedded := finish(t, clitest.Start(t, key, "--json", "--only", "throughput", "--iam-endpoint", aws.URL, "--leases", "3", "--requesters", "3"))
	if f := figure(t, embedded, "throughput", "calls"); f.Value != 2*floor.CallsPerLease || embedded.Where != report.Embedded {
		t.Errorf("an embedded broker with a running AWS: %+v", f)
	}
	if n := sim.UserCount(); n != 0 {
		t.Errorf("%d users are left in AWS", n)
	}
	for _, secret := range sim.IssuedSecrets() {
		if strings.Contains(p.Stdout.String(), secret) {
			t.Error("the report has a secret key")
		}
	}
}
