// Package report is the report of the benchmark: figures with their floors and bounds, as
// a table and as JSON.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Report is the result of a run. Its JSON is
//
//	{"version":"v1.2.3","go":"go1.26.0","system":"linux/amd64","cpus":2,"durable":false,"latency":"50ms","rate":0,
//	 "requesters":64,"took":"58s","missed":1,"figures":[{"part":"latency","name":"issue_p50","what":"…","value":104.1,
//	 "unit":"ms","floor":101.2,"floor_what":"…","ratio":1.03,"bound":"≤ 110","holds":true},…]}
type Report struct {
	Version    string   `json:"version"`
	Go         string   `json:"go"`
	System     string   `json:"system"`
	CPUs       int      `json:"cpus"`
	Where      string   `json:"where"` // [Embedded] or [Elsewhere]
	Durable    bool     `json:"durable"`
	Latency    string   `json:"latency"`
	Rate       float64  `json:"rate"`
	Requesters int      `json:"requesters"`
	Took       string   `json:"took"`
	Missed     int      `json:"missed"`
	Figures    []Figure `json:"figures"`
}

// Values of Report.Where.
const (
	Embedded  = "embedded"  // the benchmark started the broker
	Elsewhere = "elsewhere" // the broker was already running
)

// Finish sets the duration of the run and counts the bounds that are not met.
func (r *Report) Finish(took time.Duration) {
	r.Took = took.Round(100 * time.Millisecond).String()
	for _, f := range r.Figures {
		if f.Holds != nil && !*f.Holds {
			r.Missed++
		}
	}
}

// Print writes the report as a table or as JSON.
func (r *Report) Print(w io.Writer, asJSON bool) error {
	text := r.table()
	if asJSON {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		text = string(data) + "\n"
	}
	_, err := fmt.Fprint(w, text)
	return err
}

// Err returns an error if a bound is not met.
func (r *Report) Err() error {
	if r.Missed == 0 {
		return nil
	}
	return fmt.Errorf("%d bounds are missed; the report names them, and --profile shows what takes the time", r.Missed)
}
