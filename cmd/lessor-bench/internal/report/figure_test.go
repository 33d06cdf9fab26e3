//go:build unix

package report

import (
	"strings"
	"testing"
	"time"
)

// TestMissedBoundsAreCounted checks each kind of bound, how the table shows it and when a
// report returns an error.
func TestMissedBoundsAreCounted(t *testing.T) {
	t.Parallel()
	figures := []struct {
		f     Figure
		bound string
		holds bool
	}{
		{Figure{What: "a", Value: 110}.WithBound(AtMost(110)), "≤ 110", true},
		{Figure{What: "b", Value: 110.1}.WithBound(AtMost(110)), "≤ 110", false},
		{Figure{What: "c", Value: 749.9}.WithBound(AtLeast(750)), "≥ 750", false},
		{Figure{What: "d", Value: 6}.WithBound(Exactly(5)), "= 5", false},
		{Figure{What: "e", Value: 6}.WithFloor(10, "x").WithBound(RatioAtLeast(0.6)), "≥ 0.60 × floor", true},
		{Figure{What: "f", Value: 5.9}.WithFloor(10, "x").WithBound(RatioAtLeast(0.6)), "≥ 0.60 × floor", false},
		{Figure{What: "g", Value: 6}.WithBound(RatioAtLeast(0.6)), "≥ 0.60 × floor", false},
		{Figure{What: "h", Value: 8}.WithFloor(10, "x").WithBound(AtLeast(750).Or(RatioAtLeast(0.8))), "≥ 750 or ≥ 0.80 × floor", true},
		{Figure{What: "i", Value: 900}.WithFloor(10_000, "x").WithBound(AtLeast(750).Or(RatioAtLeast(0.8))), "≥ 750 or ≥ 0.80 × floor", true},
		{Figure{What: "j", Value: 700}.WithFloor(10_000, "x").WithBound(AtLeast(750).Or(RatioAtLeast(0.8))), "≥ 750 or ≥ 0.80 × floor", false},
	}
	r := &Report{Where: "embedded"}
	for _, c := range figures {
		if c.f.Holds == nil || *c.f.Holds != c.holds || c.f.Bound != c.bound {
			t.Errorf("%+v", c.f)
		}
		r.Figures = append(r.Figures, c.f)
	}
	r.Figures = append(r.Figures, Figure{What: "none", Value: 1}.WithBound(AtMost(0).If(false)))
	r.Finish(time.Second)
	if r.Missed != 6 || strings.Count(r.table(), "MISS") != 6 || strings.Count(r.table(), "pass") != 4 {
		t.Errorf("%d are missed:\n%s", r.Missed, r.table())
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "6 bounds") {
		t.Errorf("%v", err)
	}
	if err := (&Report{}).Err(); err != nil {
		t.Errorf("without a missed bound: %v", err)
	}
}
