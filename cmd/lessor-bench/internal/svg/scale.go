package svg

import (
	"fmt"
	"math"
	"strconv"
)

// scale maps the numbers of an axis to pixels.
type scale struct {
	logarithmic bool
	low, high   float64 // the numbers at the ends
	from, to    float64 // the ends, in pixels
	ticks       []float64
}

// has reports whether the scale can show a number.
func (s scale) has(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || !s.logarithmic)
}

// at returns the pixel of a number.
func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.logarithmic {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

// ends returns the least and the greatest of the numbers that the scale can show, or 1 and
// 1 if there are none.
func (s scale) ends(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if s.has(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		return 1, 1
	}
	return low, high
}

// round125 returns the i-th of the numbers 1, 2, 5, 10, 20, 50 and so on; the 0th is 1.
func round125(i int) float64 {
	decade := int(math.Floor(float64(i) / 3))
	v, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", []int{1, 2, 5}[i-3*decade], decade), 64) // parsed, because a product of powers is not exact
	return v
}

// floor125 returns the index of the greatest of these numbers that is not more than v. V
// must be more than 0.
func floor125(v float64) int {
	i := 3 * (int(math.Floor(math.Log10(v))) + 1)
	for round125(i) > v {
		i--
	}
	return i
}

// logarithmicScale has ticks at 1, 2 and 5 of each decade, or only at 1 if there are more
// than two decades.
func logarithmicScale(values []float64, from, to float64) scale {
	s := scale{logarithmic: true, from: from, to: to}
	low, high := s.ends(values)
	first, last := floor125(low), floor125(high)
	if round125(last) < high || first == last {
		last++
	}
	s.low, s.high = round125(first), round125(last)
	for i := first; i <= last; i++ {
		if last-first <= 6 || i%3 == 0 {
			s.ticks = append(s.ticks, round125(i))
		}
	}
	return s
}

// linearScale includes 0 and has about five ticks.
func linearScale(values []float64, from, to float64) scale {
	s := scale{from: from, to: to}
	low, high := s.ends(values)
	low, high = min(0, low), max(0, high)
	if low == high {
		high = 1
	}
	step := round125(floor125((high-low)/5) + 1)
	first, last := math.Floor(low/step), math.Ceil(high/step)
	s.low, s.high = first*step, last*step
	for i := first; i <= last; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	return s
}
