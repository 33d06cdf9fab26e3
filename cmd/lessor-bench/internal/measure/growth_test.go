package measure

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
)

// TestPicturesOfGrowth show what was measured.
func TestPicturesOfGrowth(t *testing.T) {
	t.Parallel()
	all := []restored{
		{leases: 1e4, loaded: timing.Run{Took: 100 * time.Millisecond}, floor: timing.Run{Took: 50 * time.Millisecond}, missed: 300 * time.Millisecond, memory: 240, peak: 900},
		{leases: 1e6, loaded: timing.Run{Took: 10 * time.Second}, floor: timing.Run{Took: 5 * time.Second}, missed: 400 * time.Millisecond, memory: 200, peak: 800},
	}
	tip := regexp.MustCompile(`<title>(.*)</title></circle>`)
	charts := growthCharts(all, "machine")
	for name, want := range map[string]string{
		"growth-restore.svg": "broker: 10000 live leases, 0.1 seconds; broker: 1000000 live leases, 10 seconds; " +
			"floor: reading the bucket, no broker: 10000 live leases, 0.05 seconds; floor: reading the bucket, no broker: 1000000 live leases, 5 seconds; ",
		"growth-memory.svg": "once all are known: 10000 live leases, 240 bytes a lease; once all are known: 1000000 live leases, 200 bytes a lease; " +
			"at most, while they are loaded: 10000 live leases, 900 bytes a lease; at most, while they are loaded: 1000000 live leases, 800 bytes a lease; ",
		"growth-due.svg": "broker: 10000 live leases, 0.3 seconds; broker: 1000000 live leases, 0.4 seconds; ",
	} {
		picture := charts[name].SVG()
		said := ""
		for _, found := range tip.FindAllStringSubmatch(picture, -1) {
			said += found[1] + "; "
		}
		if said != want || !strings.Contains(picture, ">machine</text>") || charts[name].Logarithmic != (name == "growth-restore.svg") {
			t.Errorf("%s has %q:\n%s", name, said, picture)
		}
	}
	if len(charts) != 3 {
		t.Errorf("%d pictures", len(charts))
	}
}
