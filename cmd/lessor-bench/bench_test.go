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

// figure is what a report says of something.
func figure(t *testing.T, r *report.Report, part, name string) report.Figure {
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

// The floors of figures.
const (
	sdkFloor    = "the same calls of the SDK, no broker"
	writesFloor = "the same writes to JetStream, no broker"
)

// secretLike is what looks like a secret access key, or like an nkey's seed.
var secretLike = regexp.MustCompile(`[A-Za-z0-9/+]{40}|S[A-Z][A-Z2-7]{56}`)

// TestABenchMeasuresEverything is a small one: each figure is there and makes sense,
// and what does not depend on the machine holds.
func TestABenchMeasuresEverything(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "profiles")
	left := t.TempDir()
	p := clitest.Start(t, map[string]string{"TMPDIR": left}, "--json", "--profile", dir,
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
			f := figure(t, r, part, name)
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
	if slices.ContainsFunc(r.Figures, func(f report.Figure) bool { return f.Part == "growth" || f.Part == "day" }) {
		t.Error("what takes long was measured unasked")
	}
	for name, want := range map[[2]string]float64{
		{"latency", "issue_calls"}: 5, {"latency", "revoke_calls"}: 5, {"latency", "renew_calls"}: 1, {"latency", "list_calls"}: 0,
		{"throughput", "calls"}: 10, {"throughput", "list_calls"}: 0, {"throughput", "issue_writes"}: 5, {"throughput", "revoke_writes"}: 4,
		{"renewals", "renew_writes"}: 3, {"replicas", "doubled"}: 0,
	} {
		if f := figure(t, r, name[0], name[1]); f.Value != want {
			t.Errorf("%s: %g %s, not %g", name[0], f.Value, f.What, want)
		}
	}
	for _, name := range []string{"issue_calls", "revoke_calls"} {
		if f := figure(t, r, "latency", name); f.Floor == nil || *f.Floor != floor.CallsPerLease {
			t.Errorf("the floor makes other calls: %+v", f)
		}
	}
	for name, floor := range map[[2]string]string{
		{"latency", "issue_p50"}: sdkFloor, {"throughput", "issue"}: sdkFloor, {"throughput", "issue_by_writes"}: writesFloor,
		{"renewals", "renew"}: writesFloor, {"requesters", "issue"}: sdkFloor,
	} {
		if f := figure(t, r, name[0], name[1]); f.FloorWhat != floor {
			t.Errorf("the floor of %s %s is %q", name[0], name[1], f.FloorWhat)
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
	r := benched(t, clitest.Start(t, nil, "--json", "--only", "day", "--day", "48", "--requesters", "2"))
	for _, name := range []string{"late_cpu", "late_time"} {
		if f := figure(t, r, "day", name); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 || f.Bound != "" {
			t.Errorf("%+v", f)
		}
	}
	if f := figure(t, r, "day", "late_cpu"); !strings.Contains(f.What, "48 leases") {
		t.Errorf("%+v", f)
	}
}

// TestABenchOfGrowth measures with one number of leases after another, and draws that.
func TestABenchOfGrowth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "pictures")
	r := benched(t, clitest.Start(t, nil, "--json", "--only", "growth", "--sizes", "100,200", "--svg", dir))
	var got []string
	for _, f := range r.Figures {
		got = append(got, fmt.Sprintf("%d %s %t", f.Leases, f.Name, f.Floor != nil))
		if f.Part != "growth" || f.Value <= 0 && !strings.HasPrefix(f.Name, "memory") && f.Name != "idle" { // so few leases weigh less than all else
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
	var table strings.Builder
	if err := r.Print(&table, false); err != nil {
		t.Fatal(err)
	}
	if strings.Count(table.String(), "GROWTH, 100 LEASES") != 1 || strings.Count(table.String(), "GROWTH, 200 LEASES") != 1 {
		t.Errorf("the report:\n%s", table.String())
	}
	for _, name := range []string{"restore", "memory", "due"} {
		picture, err := os.ReadFile(filepath.Join(dir, "growth-"+name+".svg"))
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.Count(string(picture), `class="p0"`) != 2 || !strings.Contains(string(picture), ">"+r.Machine()+"</text>") {
			t.Errorf("%s is\n%s", name, picture)
		}
	}
}

// TestABenchOfADurableServerSaysSo, and has the writes as its measure.
func TestABenchOfADurableServerSaysSo(t *testing.T) {
	t.Parallel()
	p := clitest.Start(t, nil, "--durable", "--only", "throughput", "--leases", "4", "--requesters", "3", "--json")
	r := benched(t, p)
	if f := figure(t, r, "throughput", "issue_by_writes"); !r.Durable || f.Bound != "≥ 850 or ≥ 0.80 × floor" || f.Holds == nil {
		t.Errorf("durable: %v, %+v", r.Durable, f)
	}
	if f := figure(t, r, "throughput", "issue"); f.Bound != "" {
		t.Errorf("without fsync: %+v", f)
	}
}

// TestABenchOfABrokerElsewhere measures one that runs already, and leaves nothing of
// its own behind there.
func TestABenchOfABrokerElsewhere(t *testing.T) {
	sim := iamsim.New(iamsim.Options{})
	sim.AddGroup("demo")
	id, secret := sim.AddPrincipal("broker")
	aws, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() }) // the account goes with the test
	key := map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret}
	for name, value := range key { // for the broker in this process
		t.Setenv(name, value)
	}
	there, err := sandbox.Start(t.Context(), sandbox.Options{NATSListen: "127.0.0.1:0", IAMEndpoint: aws.URL, MinTTL: messages.Duration(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = there.Close() }) // it goes with the test
	p := clitest.Start(t, key, "--json", "--server", there.NATS.URL(), "--iam-endpoint", aws.URL, "--leases", "4", "--requesters", "3")
	r := benched(t, p)
	var parts []string
	for _, f := range r.Figures {
		if !slices.Contains(parts, f.Part) {
			parts = append(parts, f.Part)
		}
		if f.Holds != nil {
			t.Errorf("a bound of a broker elsewhere: %+v", f)
		}
	}
	if !slices.Equal(parts, []string{"latency", "throughput", "renewals", "requesters"}) || r.Where != "elsewhere" {
		t.Errorf("it measures %q of a broker %s", parts, r.Where)
	}
	if f := figure(t, r, "throughput", "issue"); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 {
		t.Errorf("throughput: %+v", f)
	}
	here := benched(t, clitest.Start(t, key, "--json", "--only", "throughput", "--iam-endpoint", aws.URL, "--leases", "3", "--requesters", "3"))
	if f := figure(t, here, "throughput", "calls"); f.Value != 2*floor.CallsPerLease || here.Where != "embedded" {
		t.Errorf("a broker here, AWS elsewhere: %+v", f)
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
