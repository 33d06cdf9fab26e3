package report

import (
	"math"
	"strconv"
)

// Figure is something that was measured, its floor, and the bound it has.
type Figure struct {
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

// WithFloor puts a floor to a figure.
func (f Figure) WithFloor(floor float64, what string) Figure {
	f.Floor, f.FloorWhat = &floor, what
	if floor != 0 {
		ratio := f.Value / floor
		f.Ratio = &ratio
	}
	return f
}

// WithFloorIf is beside where the floor could be measured.
func (f Figure) WithFloorIf(measured bool, floor float64, what string) Figure {
	if !measured {
		return f
	}
	return f.WithFloor(floor, what)
}

// WithBound puts a bound to a figure.
func (f Figure) WithBound(b Bound) Figure {
	if b.holds == nil {
		return f
	}
	holds := b.holds(f)
	f.Bound, f.Holds = b.text, &holds
	return f
}

// Bound is what a figure must keep to. The zero value is no bound.
type Bound struct {
	text  string
	holds func(Figure) bool
}

func AtMost(limit float64) Bound {
	return Bound{"≤ " + Number(limit), func(f Figure) bool { return f.Value <= limit }}
}

func AtLeast(limit float64) Bound {
	return Bound{"≥ " + Number(limit), func(f Figure) bool { return f.Value >= limit }}
}

func Exactly(limit float64) Bound {
	return Bound{"= " + Number(limit), func(f Figure) bool { return f.Value == limit }}
}

// RatioAtLeast is a bound of a figure that has a floor.
func RatioAtLeast(limit float64) Bound {
	return Bound{"≥ " + Number(limit) + " × floor", func(f Figure) bool { return f.Ratio != nil && *f.Ratio >= limit }}
}

// RatioAtMost is a bound of a figure that has a floor.
func RatioAtMost(limit float64) Bound {
	return Bound{"≤ " + Number(limit) + " × floor", func(f Figure) bool { return f.Ratio != nil && *f.Ratio <= limit }}
}

// Or holds where one of two bounds does.
func (b Bound) Or(other Bound) Bound {
	return Bound{b.text + " or " + other.text, func(f Figure) bool { return b.holds(f) || other.holds(f) }}
}

// If is the bound under a condition, and else none.
func (b Bound) If(condition bool) Bound {
	if !condition {
		return Bound{}
	}
	return b
}

// Number is a number with three or four digits that mean something.
func Number(v float64) string {
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
