package measure

import (
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// What a floor is, in the report.
const (
	sdkFloor    = "the same calls of the SDK, no broker"
	writesFloor = "the same writes to JetStream, no broker"
)

// cpuFigure is the CPU time that this process used for each operation. It includes NATS,
// the simulated AWS and the requesters, if they run in this process. On a machine with
// other load it varies less than the time does.
func cpuFigure(r timing.Run, name, what string, floor timing.Run, floorWhat string) report.Figure {
	each := func(r timing.Run) float64 { return float64(r.CPU.Microseconds()) / max(1, float64(r.Count())) }
	return report.Figure{Name: name + "_cpu", What: "CPU time for each " + what, Value: each(r), Unit: "µs"}.
		WithFloorIf(floor.CPU > 0, each(floor), floorWhat)
}

// timeFigures are the p50 and the p99 of the time of an operation, with the floor if that
// is not nil. The bound is that of the p50.
func timeFigures(r timing.Run, name, what string, floor *timing.Run, bound report.Bound) []report.Figure {
	figure := func(share float64, name, what string) report.Figure {
		f := report.Figure{Name: name, What: what, Value: timing.Milliseconds(r.Quantile(share)), Unit: "ms"}
		if floor != nil {
			f = f.WithFloor(timing.Milliseconds(floor.Quantile(share)), sdkFloor)
		}
		return f
	}
	return []report.Figure{
		figure(0.5, name+"_p50", what+", p50").WithBound(bound),
		figure(0.99, name+"_p99", what+", p99"),
	}
}

// writesFigure is the number of messages that an operation writes.
func writesFigure(all world.Writes, name, what string) report.Figure {
	return report.Figure{Name: name, What: what + " (" + all.String() + ")", Value: all.Total()}
}

// measured returns the run of a floor, or nil if it was not measured.
func measured(r timing.Run) *timing.Run {
	if len(r.Each) == 0 {
		return nil
	}
	return &r
}
