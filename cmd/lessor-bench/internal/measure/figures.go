package measure

import (
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// computed is the figure of how long this process computed for each: NATS, AWS and
// requesters included, as far as they are in it. On a machine that others use, too, it
// tells more than the time does.
func computed(r timing.Run, name, what string, floor timing.Run, floorWhat string) report.Figure {
	each := func(r timing.Run) float64 { return float64(r.CPU.Microseconds()) / max(1, float64(r.Count())) }
	return report.Figure{Name: name + "_cpu", What: "CPU time for each " + what, Value: each(r), Unit: "µs"}.
		WithFloorIf(floor.CPU > 0, each(floor), floorWhat)
}

// times are the figures of how long one takes, beside the same with no broker; floor
// may be nil.
func times(r timing.Run, name, what string, floor *timing.Run, bound report.Bound) []report.Figure {
	figure := func(at float64, name, what string) report.Figure {
		f := report.Figure{Name: name, What: what, Value: timing.Milliseconds(r.Quantile(at)), Unit: "ms"}
		if floor != nil {
			f = f.WithFloor(timing.Milliseconds(floor.Quantile(at)), sdkFloor)
		}
		return f
	}
	return []report.Figure{
		figure(0.5, name+"_p50", what+", p50").WithBound(bound),
		figure(0.99, name+"_p99", what+", p99"),
	}
}

// sdkFloor names the floor of what AWS makes slow.
const sdkFloor = "the same calls of the SDK, no broker"

// figure is the number of writes.
func writesFigure(all world.Writes, name, what string) report.Figure {
	return report.Figure{Name: name, What: what + " (" + all.String() + ")", Value: all.Total()}
}

// floorIf is a floor, if it was measured.
func floorIf(r timing.Run) *timing.Run {
	if len(r.Each) == 0 {
		return nil
	}
	return &r
}
