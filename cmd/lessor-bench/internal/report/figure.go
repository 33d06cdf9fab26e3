package report

import (
	"math"
	"strconv"
)

// Figure is a measured value, with its floor and its bound, if it has them.
type Figure struct {
	Part      string   `json:"part"`
	Leases    int      `json:"leases,omitempty"` // live leases, if a part measures with several numbers of them
	Name      string   `json:"name"`
	What      string   `json:"what"`
	Value     float64  `json:"value"`
	Unit      string   `json:"unit,omitempty"`
	Floor     *float64 `json:"floor,omitempty"` // the value of the same work without a broker
	FloorWhat string   `json:"floor_what,omitempty"`
	Ratio     *float64 `json:"ratio,omitempty"` // value / floor
	Bound     string   `json:"bound,omitempty"`
	Holds     *bool    `json:"holds,omitempty"` // whether the value meets the bound; nil: no bound
}

// WithFloor returns the figure with a floor. The ratio is nil if the floor is 0.
func (f Figure) WithFloor(floor float64, what string) Figure {
	f.Floor, f.FloorWhat = &floor, what
	if floor != 0 {
		ratio := f.Value / floor
		f.Ratio = &ratio
	}
	return f
}

// WithFloorIf returns the figure with a floor if that was measured, or as it is.
func (f Figure) WithFloorIf(measured bool, floor float64, what string) Figure {
	if !measured {
		return f
	}
	return f.WithFloor(floor, what)
}

// WithBound returns the figure with a bound, which is checked against the value and the
// ratio.
func (f Figure) WithBound(b Bound) Figure {
	if b.holds == nil {
		return f
	}
	holds := b.holds(f)
	f.Bound, f.Holds = b.text, &holds
	return f
}

// Bound is a condition that a figure should meet. The zero value is no bound.
type Bound struct {
	text  string
	holds func(Figure) bool
}

// AtMost is met by values up to the limit.
func AtMost(limit float64) Bound {
	return Bound{"≤ " + Number(limit), func(f Figure) bool { return f.Value <= limit }}
}

// AtLeast is met by values from the limit on.
func AtLeast(limit float64) Bound {
	return Bound{"≥ " + Number(limit), func(f Figure) bool { return f.Value >= limit }}
}

// Exactly is met by the limit only.
func Exactly(limit float64) Bound {
	return Bound{"= " + Number(limit), func(f Figure) bool { return f.Value == limit }}
}

// RatioAtLeast is met by a ratio from the limit on. A figure without a ratio does not
// meet it.
func RatioAtLeast(limit float64) Bound {
	return Bound{"≥ " + Number(limit) + " × floor", func(f Figure) bool { return f.Ratio != nil && *f.Ratio >= limit }}
}

// RatioAtMost is met by a ratio up to the limit. A figure without a ratio does not meet
// it.
func RatioAtMost(limit float64) Bound {
	return Bound{"≤ " + Number(limit) + " × floor", func(f Figure) bool { return f.Ratio != nil && *f.Ratio <= limit }}
}

// Or is met if one of the two bounds is.
func (b Bound) Or(other Bound) Bound {
	return Bound{b.text + " or " + other.text, func(f Figure) bool { return b.holds(f) || other.holds(f) }}
}

// If returns the bound if the condition is true, or none.
func (b Bound) If(condition bool) Bound {
	if !condition {
		return Bound{}
	}
	return b
}

// Number formats a number with two decimals below 100, one below 1,000, and none above or
// if it is whole.
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
