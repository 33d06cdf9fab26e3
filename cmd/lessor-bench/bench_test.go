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
	"github.com/lessorhq/lessor/cmd/lessor"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/floor"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/measure"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/svg"
)

// figure is what a report says of something.
func (r *report.Report) figure(t *testing.T, part, name string) report.Figure {
	t.Helper()
	for _, f := range r.Figures {
		if f.Part == part && f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no figure %s of the part %s", name, part)
	return report.Figure{}
}

// benched reads the report of a bench that has nothing else to say.
func benched(t *testing.T, p *clitest.Process) *report.Report {
	t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(10 * clitest.Patience): // it stops by itself
		t.Fatalf("it does not end: %s", p.Stderr)
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

// secretLike is what looks like a secret access key, or like an nkey's seed.
var secretLike = regexp.MustCompile(`[A-Za-z0-9/+]{40}|S[A-Z][A-Z2-7]{56}`)

// TestABenchMeasuresEverything is a small one: each figure is there and makes sense,
// and what does not depend on the machine holds.
func TestABenchMeasuresEverything(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "profiles")
	left := t.TempDir()
	p := clitest.Start(t, map[string]string{"TMPDIR": left}, "bench", "--json", "--profile", dir,
		"--leases", "4", "--requesters", "3", "--latency", "5ms", "--live", "100", "--due", "40")
	r := benched(t, p)
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
			f := r.figure(t, part, name)
			if f.Value <= 0 || f.What == "" || f.Floor != nil && (*f.Floor <= 0 || f.FloorWhat == "") {
				t.Errorf("%s: %+v", part, f)
			}
		}
		for _, file := range []string{part + ".cpu.pprof", part + ".allocs.pprof"} {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
				t.Errorf("no profile %s: %v", file, err)
			}
		}
	}
	if slices.ContainsFunc(r.Figures, func(f report.Figure) bool { return f.Part == measure.partGrowth || f.Part == measure.partDay }) {
		t.Error("what takes long was measured unasked")
	}
	for figure, want := range map[[2]string]float64{
		{"latency", "issue_calls"}: 5, {"latency", "revoke_calls"}: 5, {"latency", "renew_calls"}: 1, {"latency", "list_calls"}: 0,
		{"throughput", "calls"}: 10, {"throughput", "list_calls"}: 0, {"throughput", "issue_writes"}: 5, {"throughput", "revoke_writes"}: 4,
		{"renewals", "renew_writes"}: 3, {"replicas", "doubled"}: 0,
	} {
		if f := r.figure(t, figure[0], figure[1]); f.Value != want {
			t.Errorf("%s: %g %s, not %g", figure[0], f.Value, f.What, want)
		}
	}
	for _, name := range []string{"issue_calls", "revoke_calls"} {
		if f := r.figure(t, "latency", name); f.Floor == nil || *f.Floor != floor.CallsPerLease {
			t.Errorf("the floor makes other calls: %+v", f)
		}
	}
	for figure, floor := range map[[2]string]string{
		{"latency", "issue_p50"}: measure.sdkFloor, {"throughput", "issue"}: measure.sdkFloor, {"throughput", "issue_by_writes"}: measure.writesFloor,
		{"renewals", "renew"}: measure.writesFloor, {"requesters", "issue"}: measure.sdkFloor,
	} {
		if f := r.figure(t, figure[0], figure[1]); f.FloorWhat != floor {
			t.Errorf("the floor of %s %s is %q", figure[0], figure[1], f.FloorWhat)
		}
	}
	if r.CPUs < 1 || !strings.HasPrefix(r.Go, "go") || r.Latency != "5ms" || r.Requesters != 3 || r.Where != "embedded" || r.Durable {
		t.Errorf("it was measured with %+v", r)
	}
	if rest, err := os.ReadDir(left); err != nil || len(rest) > 0 {
		t.Errorf("it leaves %v behind, %v", rest, err)
	}
}

// TestABenchOfADay has two leases an hour.
func TestABenchOfADay(t *testing.T) {
	t.Parallel()
	r := benched(t, clitest.Start(t, nil, "bench", "--json", "--only", "day", "--day", "48", "--requesters", "2"))
	for _, name := range []string{"late_cpu", "late_time"} {
		if f := r.figure(t, measure.partDay, name); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 || f.Bound != "" {
			t.Errorf("%+v", f)
		}
	}
	if f := r.figure(t, measure.partDay, "late_cpu"); !strings.Contains(f.What, "48 leases") {
		t.Errorf("%+v", f)
	}
}

// TestABenchOfGrowth measures with one number of leases after another, and draws that.
func TestABenchOfGrowth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "pictures")
	r := benched(t, clitest.Start(t, nil, "bench", "--json", "--only", "growth", "--sizes", "100,200", "--svg", dir))
	var got []string
	for _, f := range r.Figures {
		got = append(got, fmt.Sprintf("%d %s %t", f.Leases, f.Name, f.Floor != nil))
		if f.Part != measure.partGrowth || f.Value <= 0 && !strings.HasPrefix(f.Name, "memory") && f.Name != "idle" { // so few leases weigh less than all else
			t.Errorf("%+v", f)
		}
		if f.Name == "restore_time" && f.What != fmt.Sprintf("until all %d are", f.Leases) {
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
		t.Errorf("it measures %q", got)
	}
	if table := r.table(); strings.Count(table, "GROWTH, 100 LEASES") != 1 || strings.Count(table, "GROWTH, 200 LEASES") != 1 {
		t.Errorf("the report:\n%s", table)
	}
	for _, name := range []string{"restore", "memory", "due"} {
		svg, err := os.ReadFile(filepath.Join(dir, "growth-"+name+".svg"))
		if err != nil {
			t.Error(err)
			continue
		}
		if d := svg.draw(t, string(svg)); len(d.dots["p0"]) != 2 || !slices.Contains(d.texts, r.Machine()) {
			t.Errorf("%s has %v", name, d)
		}
	}
}

// TestABenchOfADurableServerSaysSo, and has the writes as its measure.
func TestABenchOfADurableServerSaysSo(t *testing.T) {
	t.Parallel()
	p := clitest.Start(t, nil, "bench", "--durable", "--only", "throughput", "--leases", "4", "--requesters", "3", "--json")
	r := benched(t, p)
	if f := r.figure(t, "throughput", "issue_by_writes"); !r.Durable || f.Bound != "≥ 850 or ≥ 0.80 × floor" || f.Holds == nil {
		t.Errorf("durable: %v, %+v", r.Durable, f)
	}
	if f := r.figure(t, "throughput", "issue"); f.Bound != "" {
		t.Errorf("without fsync: %+v", f)
	}
	if !strings.Contains(r.summary(), "; durable: each write is flushed") {
		t.Errorf("it says %s", r.summary())
	}
}

// TestABenchOfABrokerElsewhere measures one that runs already, and leaves nothing of
// its own behind there.
func TestABenchOfABrokerElsewhere(t *testing.T) {
	t.Parallel()
	s := main.newSite(t)
	endpoint := s.variables["AWS_ENDPOINT_URL"]
	delete(s.variables, "AWS_ENDPOINT_URL") // the flag says it
	_, _, x := main.dev(t, s, "--iam-endpoint", endpoint)
	p := s.start(nil, "bench", "--json", "--server", x.variables["NATS_URL"], "--iam-endpoint", endpoint, "--leases", "4", "--requesters", "3")
	r := benched(t, p)
	var parts []string
	for _, f := range r.Figures {
		if !slices.Contains(parts, f.Part) {
			parts = append(parts, f.Part)
		}
		if f.Holds != nil {
			t.Errorf("nobody knows whether that holds: %+v", f)
		}
	}
	if !slices.Equal(parts, []string{"latency", "throughput", "renewals", "requesters"}) || r.Where != "elsewhere" {
		t.Errorf("it measures %q of a broker %s", parts, r.Where)
	}
	if f := r.figure(t, "throughput", "issue"); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 {
		t.Errorf("throughput: %+v", f)
	}
	here := benched(t, s.start(nil, "bench", "--json", "--only", "throughput", "--iam-endpoint", endpoint, "--leases", "3", "--requesters", "3"))
	if f := here.figure(t, "throughput", "calls"); f.Value != 2*floor.CallsPerLease || here.Where != "embedded" {
		t.Errorf("a broker here, AWS elsewhere: %+v", f)
	}
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("%d users are left in AWS", n)
	}
	for _, secret := range s.sim.IssuedSecrets() {
		if strings.Contains(p.Stdout.String(), secret) {
			t.Error("the report has a secret key")
		}
	}
}
