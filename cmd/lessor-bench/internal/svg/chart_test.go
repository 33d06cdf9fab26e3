package svg

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// drawn is the content of a chart.
type drawn struct {
	texts  []string // in the order of the document
	dots   map[string][][2]float64
	curves map[string]int // the number of points of each, by class
}

// parse parses a chart. It must be well-formed, refer to nothing outside, and draw nothing
// outside of its area.
func parse(t *testing.T, svg string) drawn {
	t.Helper()
	d := drawn{dots: map[string][][2]float64{}, curves: map[string]int{}}
	for _, foreign := range []string{"<script", "href", "@import", "url(", "@font-face", "NaN", "Inf"} {
		if strings.Contains(svg, foreign) {
			t.Errorf("the chart has %q", foreign)
		}
	}
	r := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		token, err := r.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
		switch x := token.(type) {
		case xml.StartElement:
			inText = x.Name.Local == "text"
			if inText {
				d.texts = append(d.texts, "")
			}
			d.add(t, x)
		case xml.CharData:
			if inText {
				d.texts[len(d.texts)-1] += string(x)
			}
		case xml.EndElement:
			inText = false
		}
	}
}

// add adds an element and checks that it is within the chart.
func (d drawn) add(t *testing.T, x xml.StartElement) {
	t.Helper()
	attribute, at := map[string]string{}, map[string]float64{}
	for _, a := range x.Attr {
		attribute[a.Name.Local] = a.Value
		v, err := strconv.ParseFloat(a.Value, 64)
		if err != nil {
			continue
		}
		at[a.Name.Local] = v
		if v < 0 || v > width || strings.Contains(a.Name.Local, "y") && v > height {
			t.Errorf("%s: %s is %g", x.Name.Local, a.Name.Local, v)
		}
	}
	switch x.Name.Local {
	case "circle":
		d.dots[attribute["class"]] = append(d.dots[attribute["class"]], [2]float64{at["cx"], at["cy"]})
	case "polyline":
		d.curves[attribute["class"]] = len(strings.Fields(attribute["points"]))
	}
}

func points(xy ...float64) (all []Point) {
	for pair := range slices.Chunk(xy, 2) {
		all = append(all, Point{pair[0], pair[1]})
	}
	return all
}

// TestChartDrawsPointsAndTexts checks the position of each point, the ticks, and that
// texts are escaped.
func TestChartDrawsPointsAndTexts(t *testing.T) {
	t.Parallel()
	const strange = `<b>&"'` + "\x01]]>"
	nan := math.NaN()
	for name, c := range map[string]struct {
		chart Chart
		dots  map[string][][2]float64
		ticks []string
	}{
		"logarithmic": {
			Chart{Logarithmic: true, Series: []Series{
				{Name: "broker", Points: points(1e4, 0.1, 1e5, 1, 1e6, 10)}, {Name: "floor", Points: points(1e4, 0.01, 1e5, 0.1, 1e6, 1)},
			}},
			map[string][][2]float64{"p0": {{80, 273.3}, {405, 186.7}, {730, 100}}, "p1": {{80, 360}, {405, 273.3}, {730, 186.7}}},
			[]string{"10 k", "20 k", "50 k", "100 k", "200 k", "500 k", "1 M", "0.01", "0.1", "1", "10"},
		},
		"linear": {
			Chart{Series: []Series{{Points: points(100, 0, 1000, 100, 10000, 200)}}},
			map[string][][2]float64{"p0": {{80, 360}, {405, 230}, {730, 100}}},
			[]string{"100", "200", "500", "1000", "2000", "5000", "10 k", "0", "50", "100", "150", "200"},
		},
		"one point": {
			Chart{Logarithmic: true, Series: []Series{{Points: points(1000, 2)}}},
			map[string][][2]float64{"p0": {{80, 360}}},
			[]string{"1000", "2000", "2", "5"},
		},
		"less than 0": {
			Chart{Series: []Series{{Points: points(1, -100, 10, 100)}}},
			map[string][][2]float64{"p0": {{80, 360}, {730, 100}}},
			[]string{"1", "2", "5", "10", "-100", "-50", "0", "50", "100"},
		},
		"zeros": {
			Chart{Series: []Series{{Points: points(10, 0, 100, 0)}}},
			map[string][][2]float64{"p0": {{80, 360}, {730, 360}}},
			[]string{"10", "20", "50", "100", "0", "0.5", "1"},
		},
		"points that a logarithmic axis can't show": {
			Chart{Logarithmic: true, Series: []Series{{Points: points(0, 1, 10, 0, 10, -1, nan, 1, 10, nan, 10, math.Inf(1), 10, 1, 20, 2)}}},
			map[string][][2]float64{"p0": {{80, 360}, {730, 100}}},
			[]string{"10", "20", "1", "2"},
		},
		"nothing": {Chart{Logarithmic: true, Series: []Series{{Points: points(10, 0)}}}, map[string][][2]float64{}, []string{"10", "20", "1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.chart.Title, c.chart.Note, c.chart.X, c.chart.Y = strange, "note", "across", "upwards"
			d := parse(t, c.chart.SVG())
			if fmt.Sprint(d.dots) != fmt.Sprint(c.dots) {
				t.Errorf("the points are at %v, not %v", d.dots, c.dots)
			}
			for class, at := range c.dots {
				if n := d.curves["s"+class[1:]]; n != len(at) {
					t.Errorf("the curve %s has %d points", class, n)
				}
			}
			want := slices.Concat([]string{`<b>&"'` + "\ufffd]]>", "note", "across", "upwards"}, c.ticks)
			for _, s := range c.chart.Series {
				want = append(want, s.Name)
			}
			if !slices.Equal(d.texts, want) {
				t.Errorf("the texts are %q, not %q", d.texts, want)
			}
		})
	}
}

// TestScalesIncludeAllPoints checks numbers of many orders of magnitude, and the number of
// ticks.
func TestScalesIncludeAllPoints(t *testing.T) {
	t.Parallel()
	for v := 1e-7; v < 1e9; v *= 1.37 {
		for _, s := range []scale{logarithmicScale([]float64{v}, 0, 1), logarithmicScale([]float64{v, 3e4 * v}, 0, 1), linearScale([]float64{v}, 0, 1)} {
			if at := s.at(v); s.low > v || s.high < v || at < 0 || at > 1 || len(s.ticks) < 2 || len(s.ticks) > 12 {
				t.Errorf("%g is at %g of %+v", v, at, s)
			}
		}
	}
	if s := linearScale([]float64{0.3}, 0, 1); number(s.ticks[3]) != "0.3" {
		t.Errorf("ticks %v", s.ticks)
	}
}
