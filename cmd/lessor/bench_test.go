//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// figure is what a report says of something.
func (r *benchReport) figure(t *testing.T, part, name string) benchFigure {
	t.Helper()
	for _, f := range r.Figures {
		if f.Part == part && f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no figure %s of the part %s", name, part)
	return benchFigure{}
}

// benched reads the report of a bench that has nothing else to say.
func benched(t *testing.T, p *process) *benchReport {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(10 * patience): // it stops by itself
		t.Fatalf("it does not end: %s", p.stderr)
	}
	var r benchReport
	if err := json.Unmarshal([]byte(p.stdout.String()), &r); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", p.exit(), err, p.stdout, p.stderr)
	}
	if code := p.exit(); code != exitOK || p.stderr.String() != "" {
		t.Errorf("exit code %d, %q", code, p.stderr)
	}
	if found := secretLike.FindString(p.stdout.String()); found != "" {
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
	p := start(t, map[string]string{"TMPDIR": left}, "bench", "--json", "--profile", dir,
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
	if slices.ContainsFunc(r.Figures, func(f benchFigure) bool { return f.Part == partGrowth || f.Part == partDay }) {
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
		if f := r.figure(t, "latency", name); f.Floor == nil || *f.Floor != callsOfALease {
			t.Errorf("the floor makes other calls: %+v", f)
		}
	}
	for figure, floor := range map[[2]string]string{
		{"latency", "issue_p50"}: benchSDK, {"throughput", "issue"}: benchSDK, {"throughput", "issue_by_writes"}: benchBareWrites,
		{"renewals", "renew"}: benchBareWrites, {"requesters", "issue"}: benchSDK,
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
	r := benched(t, start(t, nil, "bench", "--json", "--only", "day", "--day", "48", "--requesters", "2"))
	for _, name := range []string{"late_cpu", "late_time"} {
		if f := r.figure(t, partDay, name); f.Value <= 0 || f.Floor == nil || *f.Floor <= 0 || f.Bound != "" {
			t.Errorf("%+v", f)
		}
	}
	if f := r.figure(t, partDay, "late_cpu"); !strings.Contains(f.What, "48 leases") {
		t.Errorf("%+v", f)
	}
}

// TestABenchOfGrowth measures with one number of leases after another, and draws that.
func TestABenchOfGrowth(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "pictures")
	r := benched(t, start(t, nil, "bench", "--json", "--only", "growth", "--sizes", "100,200", "--svg", dir))
	var got []string
	for _, f := range r.Figures {
		got = append(got, fmt.Sprintf("%d %s %t", f.Leases, f.Name, f.Floor != nil))
		if f.Part != partGrowth || f.Value <= 0 && !strings.HasPrefix(f.Name, "memory") && f.Name != "idle" { // so few leases weigh less than all else
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
		if d := draw(t, string(svg)); len(d.dots["p0"]) != 2 || !slices.Contains(d.texts, r.machine()) {
			t.Errorf("%s has %v", name, d)
		}
	}
}

// TestABenchOfADurableServerSaysSo, and has the writes as its measure.
func TestABenchOfADurableServerSaysSo(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "bench", "--durable", "--only", "throughput", "--leases", "4", "--requesters", "3", "--json")
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
	s := newSite(t)
	endpoint := s.variables["AWS_ENDPOINT_URL"]
	delete(s.variables, "AWS_ENDPOINT_URL") // the flag says it
	_, _, x := dev(t, s, "--iam-endpoint", endpoint)
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
	if f := here.figure(t, "throughput", "calls"); f.Value != 2*callsOfALease || here.Where != "embedded" {
		t.Errorf("a broker here, AWS elsewhere: %+v", f)
	}
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("%d users are left in AWS", n)
	}
	for _, secret := range s.sim.IssuedSecrets() {
		if strings.Contains(p.stdout.String(), secret) {
			t.Error("the report has a secret key")
		}
	}
}

// TestTheBoundsOfABench are told, counted, and matter only where that is asked for.
func TestTheBoundsOfABench(t *testing.T) {
	t.Parallel()
	figures := []struct {
		f     benchFigure
		bound string
		holds bool
	}{
		{benchFigure{What: "a", Value: 110}.within(atMost(110)), "≤ 110", true},
		{benchFigure{What: "b", Value: 110.1}.within(atMost(110)), "≤ 110", false},
		{benchFigure{What: "c", Value: 849.9}.within(atLeast(850)), "≥ 850", false},
		{benchFigure{What: "d", Value: 6}.within(exactly(5)), "= 5", false},
		{benchFigure{What: "e", Value: 6}.beside(10, "x").within(ratioAtLeast(0.6)), "≥ 0.60 × floor", true},
		{benchFigure{What: "f", Value: 5.9}.beside(10, "x").within(ratioAtLeast(0.6)), "≥ 0.60 × floor", false},
		{benchFigure{What: "g", Value: 6}.within(ratioAtLeast(0.6)), "≥ 0.60 × floor", false},
		{benchFigure{What: "h", Value: 8}.beside(10, "x").within(atLeast(850).or(ratioAtLeast(0.8))), "≥ 850 or ≥ 0.80 × floor", true},
		{benchFigure{What: "i", Value: 900}.beside(10_000, "x").within(atLeast(850).or(ratioAtLeast(0.8))), "≥ 850 or ≥ 0.80 × floor", true},
		{benchFigure{What: "j", Value: 700}.beside(10_000, "x").within(atLeast(850).or(ratioAtLeast(0.8))), "≥ 850 or ≥ 0.80 × floor", false},
	}
	b := &benchCmd{}
	r := newBenchReport(b)
	for _, c := range figures {
		if c.f.Holds == nil || *c.f.Holds != c.holds || c.f.Bound != c.bound {
			t.Errorf("%+v", c.f)
		}
		r.Figures = append(r.Figures, c.f)
	}
	r.Figures = append(r.Figures, benchFigure{What: "none", Value: 1}.within(atMost(0).only(false)))
	r.end(time.Second)
	if r.Missed != 6 || strings.Count(r.table(), "MISS") != 6 || strings.Count(r.table(), "pass") != 4 {
		t.Errorf("%d are missed:\n%s", r.Missed, r.table())
	}
	if err := b.judge(r); err != nil {
		t.Errorf("nobody asked for it: %v", err)
	}
	b.check = true
	if err := b.judge(r); err == nil || !strings.Contains(err.Error(), "6 bounds") {
		t.Errorf("%v", err)
	}
}

// TestALoadIsOverInTime: what was begun is done, and is the first of it.
func TestALoadIsOverInTime(t *testing.T) {
	t.Parallel()
	var done [100]bool
	do := func(_ context.Context, i int) error { done[i] = true; return nil }
	r, err := benchLoadWithin(t.Context(), time.Nanosecond, len(done), 2, do)
	if err != nil || len(r.each) != 2 || !done[0] || !done[1] || done[2] {
		t.Errorf("%d are done, %v: %v", len(r.each), done, err)
	}
	if r, err = benchLoadWithin(t.Context(), 0, len(done), 2, do); err != nil || len(r.each) != len(done) || slices.Contains(done[:], false) {
		t.Errorf("%d are done, %v: %v", len(r.each), done, err)
	}
	refused := errors.New("no")
	if _, err = benchLoad(t.Context(), 10, 2, func(context.Context, int) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
}

// TestTheTimesOfARun are sorted, and none is left out.
func TestTheTimesOfARun(t *testing.T) {
	t.Parallel()
	var r benchRun
	for i := 100; i > 0; i-- {
		r = r.and(benchRun{took: time.Millisecond, each: []time.Duration{time.Duration(i)}})
	}
	if r.at(0.5) != 51 || r.at(0.99) != 100 || r.at(1) != 100 || r.rate() != 1000 || (benchRun{}).at(0.5) != 0 {
		t.Errorf("%d, %d, %d; %g/s", r.at(0.5), r.at(0.99), r.at(1), r.rate())
	}
}
