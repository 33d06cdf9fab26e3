package main

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// benchFigure is something that was measured, its floor, and the bound it has.
type benchFigure struct {
	Part      string   `json:"part"`
	Leases    int      `json:"leases,omitempty"` // that there are, where a part measures with several numbers of them
	Name      string   `json:"name"`
	What      string   `json:"what"`
	Value     float64  `json:"value"`
	Unit      string   `json:"unit,omitempty"`
	Floor     *float64 `json:"floor,omitempty"` // what could be had at best
	FloorWhat string   `json:"floor_what,omitempty"`
	Ratio     *float64 `json:"ratio,omitempty"` // of the value to the floor
	Bound     string   `json:"bound,omitempty"`
	Holds     *bool    `json:"holds,omitempty"` // the bound; absent: there is none
}

// beside puts a floor to a figure.
func (f benchFigure) beside(floor float64, what string) benchFigure {
	f.Floor, f.FloorWhat = &floor, what
	if floor != 0 {
		ratio := f.Value / floor
		f.Ratio = &ratio
	}
	return f
}

// besideIf is beside where the floor could be measured.
func (f benchFigure) besideIf(measured bool, floor float64, what string) benchFigure {
	if !measured {
		return f
	}
	return f.beside(floor, what)
}

// within puts a bound to a figure.
func (f benchFigure) within(b benchBound) benchFigure {
	if b.holds == nil {
		return f
	}
	holds := b.holds(f)
	f.Bound, f.Holds = b.text, &holds
	return f
}

// benchBound is what a figure must keep to. The zero value is no bound.
type benchBound struct {
	text  string
	holds func(benchFigure) bool
}

func atMost(limit float64) benchBound {
	return benchBound{"≤ " + number(limit), func(f benchFigure) bool { return f.Value <= limit }}
}

func atLeast(limit float64) benchBound {
	return benchBound{"≥ " + number(limit), func(f benchFigure) bool { return f.Value >= limit }}
}

func exactly(limit float64) benchBound {
	return benchBound{"= " + number(limit), func(f benchFigure) bool { return f.Value == limit }}
}

// ratioAtLeast is a bound of a figure that has a floor.
func ratioAtLeast(limit float64) benchBound {
	return benchBound{"≥ " + number(limit) + " × floor", func(f benchFigure) bool { return f.Ratio != nil && *f.Ratio >= limit }}
}

// ratioAtMost is a bound of a figure that has a floor.
func ratioAtMost(limit float64) benchBound {
	return benchBound{"≤ " + number(limit) + " × floor", func(f benchFigure) bool { return f.Ratio != nil && *f.Ratio <= limit }}
}

// or holds where one of two bounds does.
func (b benchBound) or(other benchBound) benchBound {
	return benchBound{b.text + " or " + other.text, func(f benchFigure) bool { return b.holds(f) || other.holds(f) }}
}

// only is the bound under a condition, and else none.
func (b benchBound) only(condition bool) benchBound {
	if !condition {
		return benchBound{}
	}
	return b
}

// benchReport is what a run found.
//
//	{"version":"v1.2.3","go":"go1.26.0","system":"linux/amd64","cpus":2,"durable":false,"latency":"50ms","rate":0,
//	 "requesters":64,"took":"58s","missed":1,"figures":[{"part":"latency","name":"issue_p50","what":"…","value":104.1,
//	 "unit":"ms","floor":101.2,"floor_what":"…","ratio":1.03,"bound":"≤ 110","holds":true},…]}
type benchReport struct {
	Version    string        `json:"version"`
	Go         string        `json:"go"`
	System     string        `json:"system"`
	CPUs       int           `json:"cpus"`
	Where      string        `json:"where"` // embedded, or elsewhere
	Durable    bool          `json:"durable"`
	Latency    string        `json:"latency"`
	Rate       float64       `json:"rate"`
	Requesters int           `json:"requesters"`
	Took       string        `json:"took"`
	Missed     int           `json:"missed"`
	Figures    []benchFigure `json:"figures"`
}

func newBenchReport(b *benchCmd) *benchReport {
	r := &benchReport{
		Version: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Where: "embedded", Durable: b.durable, Latency: b.latency.String(), Rate: b.rate, Requesters: b.requesters,
	}
	if b.remote() {
		r.Where = "elsewhere"
	}
	return r
}

// end counts what was missed.
func (r *benchReport) end(took time.Duration) {
	r.Took = took.Round(100 * time.Millisecond).String()
	for _, f := range r.Figures {
		if f.Holds != nil && !*f.Holds {
			r.Missed++
		}
	}
}

func (r *benchReport) print(env *environment, asJSON bool) error {
	text := r.table()
	if asJSON {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		text = string(data) + "\n"
	}
	_, err := fmt.Fprint(env.Stdout, text)
	return err
}

// table is the report for a person.
func (r *benchReport) table() string {
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
			floor = number(*f.Floor)
		}
		if f.Ratio != nil {
			ratio = strconv.FormatFloat(*f.Ratio, 'f', 2, 64)
		}
		if f.Holds != nil {
			holds = map[bool]string{true: "pass", false: "MISS"}[*f.Holds]
		}
		fmt.Fprintf(w, "  %s\t%s %s\t%s\t%s\t%s\t%s\t%s\n", f.What, number(f.Value), f.Unit, floor, ratio, f.Bound, holds, f.FloorWhat)
	}
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "%s\n", r.summary())
	return b.String()
}

// heading is what stands above a figure in the table.
func (f benchFigure) heading() string {
	if f.Leases == 0 {
		return strings.ToUpper(f.Part)
	}
	return fmt.Sprintf("%s, %d LEASES", strings.ToUpper(f.Part), f.Leases)
}

// machine says on what was measured.
func (r *benchReport) machine() string {
	return fmt.Sprintf("%s, %s, %d CPUs, lessor %s", r.Go, r.System, r.CPUs, r.Version)
}

// summary says under which conditions the figures hold.
func (r *benchReport) summary() string {
	s := r.machine()
	if r.Where != "embedded" {
		return fmt.Sprintf("%s; a broker elsewhere; %d requesters; %s", s, r.Requesters, r.Took)
	}
	disk := "not durable: writes are not flushed to the disk one by one"
	if r.Durable {
		disk = "durable: each write is flushed to the disk"
	}
	rate := "any rate"
	if r.Rate > 0 {
		rate = number(r.Rate) + " calls/s"
	}
	return fmt.Sprintf("%s; %s; AWS with %s a call where it takes its time, and %s; %d requesters; %s; %d bounds missed",
		s, disk, r.Latency, rate, r.Requesters, r.Took, r.Missed)
}

// number is a number with three or four digits that mean something.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1e9:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
