package measure

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
)

// TestGrowthChartsHaveAPointForEachSize checks the labels of the points in each chart.
func TestGrowthChartsHaveAPointForEachSize(t *testing.T) {
	t.Parallel()
	all := []restored{
		{leases: 1e4, loaded: timing.Run{Took: 100 * time.Millisecond}, floor: timing.Run{Took: 50 * time.Millisecond}, overdue: 300 * time.Millisecond, memory: 240, peak: 900},
		{leases: 1e6, loaded: timing.Run{Took: 10 * time.Second}, floor: timing.Run{Took: 5 * time.Second}, overdue: 400 * time.Millisecond, memory: 200, peak: 800},
	}
	pointLabel := regexp.MustCompile(`<title>(.*)</title></circle>`)
	charts := growthCharts(all, "machine")
	for name, want := range map[string]string{
		"growth-restore.svg": "broker: 10000 live leases, 0.1 seconds; broker: 1000000 live leases, 10 seconds; " +
			"floor: reading the bucket, no broker: 10000 live leases, 0.05 seconds; floor: reading the bucket, no broker: 1000000 live leases, 5 seconds; ",
		"growth-memory.svg": "when all are loaded: 10000 live leases, 240 bytes a lease; when all are loaded: 1000000 live leases, 200 bytes a lease; " +
			"at most, during the load: 10000 live leases, 900 bytes a lease; at most, during the load: 1000000 live leases, 800 bytes a lease; ",
		"growth-due.svg": "broker: 10000 live leases, 0.3 seconds; broker: 1000000 live leases, 0.4 seconds; ",
	} {
		chart := charts[name].SVG()
		labels := ""
		for _, found := range pointLabel.FindAllStringSubmatch(chart, -1) {
			labels += found[1] + "; "
		}
		if labels != want || !strings.Contains(chart, ">machine</text>") || charts[name].Logarithmic != (name == "growth-restore.svg") {
			t.Errorf("%s has %q:\n%s", name, labels, chart)
		}
	}
	if len(charts) != 3 {
		t.Errorf("%d charts", len(charts))
	}
}

// TestOverdueBoundGrowsWithTheLeases checks the bounds on both sides of their limits.
func TestOverdueBoundGrowsWithTheLeases(t *testing.T) {
	t.Parallel()
	for leases, want := range map[int]string{1: "≤ 2000", 100_000: "≤ 2000", 100_001: "≤ 8000", 1_000_000: "≤ 8000", 1_000_001: ""} {
		found := false
		for _, f := range (restored{leases: leases, overdue: time.Second}).figures() {
			if f.Name == "missed" {
				found = f.Bound == want
			}
		}
		if !found {
			t.Errorf("with %d leases the bound is not %q", leases, want)
		}
	}
}
