package report

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is the report as text.
func (r *Report) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	last := ""
	for _, f := range r.Figures {
		if heading := f.heading(); heading != last {
			last = heading
			fmt.Fprintf(w, "%s\tmeasured\tfloor\tratio\tbound\t\tthe floor is\n", heading)
		}
		floor, ratio, holds := "", "", ""
		if f.Floor != nil {
			floor = Number(*f.Floor)
		}
		if f.Ratio != nil {
			ratio = strconv.FormatFloat(*f.Ratio, 'f', 2, 64)
		}
		if f.Holds != nil {
			holds = map[bool]string{true: "pass", false: "MISS"}[*f.Holds]
		}
		fmt.Fprintf(w, "  %s\t%s %s\t%s\t%s\t%s\t%s\t%s\n", f.What, Number(f.Value), f.Unit, floor, ratio, f.Bound, holds, f.FloorWhat)
	}
	_ = w.Flush() // a strings.Builder returns no error
	fmt.Fprintf(&b, "%s\n", r.summary())
	return b.String()
}

// heading is the heading of the section of a figure.
func (f Figure) heading() string {
	if f.Leases == 0 {
		return strings.ToUpper(f.Part)
	}
	return fmt.Sprintf("%s, %d LEASES", strings.ToUpper(f.Part), f.Leases)
}

// Machine describes the machine and the program.
func (r *Report) Machine() string {
	return fmt.Sprintf("%s, %s, %d CPUs, lessor %s", r.Go, r.System, r.CPUs, r.Version)
}

// summary describes the conditions of the run.
func (r *Report) summary() string {
	s := r.Machine()
	if r.Where != Embedded {
		return fmt.Sprintf("%s; a broker that was already running; %d requesters; %s", s, r.Requesters, r.Took)
	}
	disk := "not durable: NATS does not flush each write to the disk"
	if r.Durable {
		disk = "durable: NATS flushes each write to the disk"
	}
	rate := "no rate limit"
	if r.Rate > 0 {
		rate = Number(r.Rate) + " calls/s"
	}
	return fmt.Sprintf("%s; %s; AWS with %s a call in the parts with latency, and %s; %d requesters; %s; %d bounds missed",
		s, disk, r.Latency, rate, r.Requesters, r.Took, r.Missed)
}
