// Package svg draws charts as SVG.
package svg

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Chart is a chart of curves. Its horizontal axis is logarithmic.
type Chart struct {
	Title, Note string // above the curves, and below them
	X, Y        string // the names of the axes
	Logarithmic bool   // the vertical axis is logarithmic, too; otherwise it includes 0
	Series      []Series
}

// Series is one curve. Points that a logarithmic axis can't show are left out.
type Series struct {
	Name   string
	Points []Point
}

// Point is one point of a curve.
type Point struct{ X, Y float64 }

// The size of the chart, and the area of its curves, in pixels.
const (
	width, height = 760, 440
	left, right   = 80, 730
	top, bottom   = 100, 360
)

// style has a background, so that the chart can be read on any page, and a dark variant.
// The curves differ by their dashes, not only by colour.
const style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}.note{font-size:11px}
.middle{text-anchor:middle}.end{text-anchor:end}.ground{fill:#fff}.grid{stroke:#d1d9e0}.axis{stroke:#59636e;fill:none}
.s0,.s1{stroke-width:2;fill:none}.s0{stroke:#0969da}.s1{stroke:#bc4c00;stroke-dasharray:6 4}.p0{fill:#0969da}.p1{fill:#bc4c00}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.ground{fill:#0d1117}.grid{stroke:#3d444d}.axis{stroke:#9198a1}
.s0{stroke:#4493f8}.s1{stroke:#f0883e}.p0{fill:#4493f8}.p1{fill:#f0883e}}
</style>
`

// SVG returns the chart as an SVG document.
func (c Chart) SVG() string {
	x, y := c.scales()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n<title>%s</title>\n%s", width, height, escaped(c.Title), style)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", width, height)
	label(&b, "title", left, 30, c.Title)
	label(&b, "note", left, height-12, c.Note)
	label(&b, "middle", (left+right)/2, bottom+42, c.X)
	label(&b, "start", 12, top-16, c.Y)
	for _, v := range x.ticks {
		line(&b, "grid", x.at(v), top, x.at(v), bottom)
		label(&b, "middle", x.at(v), bottom+20, number(v))
	}
	for _, v := range y.ticks {
		line(&b, "grid", left, y.at(v), right, y.at(v))
		label(&b, "end", left-8, y.at(v)+4, number(v))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dV%dH%d"/>`+"\n", left, top, bottom, right)
	legend := float64(left)
	for i, s := range c.Series {
		class := strconv.Itoa(i % 2) // the style has two classes
		line(&b, "s"+class, legend, top-46, legend+28, top-46)
		label(&b, "start", legend+36, top-42, s.Name)
		legend += 64 + 7*float64(utf8.RuneCountInString(s.Name))
		c.curve(&b, s, class, x, y)
	}
	return b.String() + "</svg>\n"
}

// curve draws a curve, and a dot for each of its points with its numbers as the title.
func (c Chart) curve(b *strings.Builder, s Series, class string, x, y scale) {
	var path, dots strings.Builder
	for _, p := range s.Points {
		if !x.has(p.X) || !y.has(p.Y) {
			continue
		}
		fmt.Fprintf(&path, "%.1f,%.1f ", x.at(p.X), y.at(p.Y))
		fmt.Fprintf(&dots, `<circle class="p%s" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`+"\n", class, x.at(p.X), y.at(p.Y),
			escaped(fmt.Sprintf("%s: %s %s, %s %s", s.Name, strconv.FormatFloat(p.X, 'f', -1, 64), c.X, number(p.Y), c.Y)))
	}
	fmt.Fprintf(b, `<polyline class="s%s" points="%s"/>`+"\n%s", class, strings.TrimSpace(path.String()), dots.String())
}

// scales returns the scales of the axes. All points are within their ends.
func (c Chart) scales() (x, y scale) {
	var xs, ys []float64
	for _, s := range c.Series {
		for _, p := range s.Points {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	x = logarithmicScale(xs, left, right)
	if c.Logarithmic {
		return x, logarithmicScale(ys, bottom, top)
	}
	return x, linearScale(ys, bottom, top)
}

// number formats a number with four digits, and a k or M for thousands or millions.
func number(v float64) string {
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	switch a := math.Abs(v); {
	case a >= 1e6:
		return short(v/1e6) + " M"
	case a >= 1e4:
		return short(v/1e3) + " k"
	}
	return short(v)
}

func line(b *strings.Builder, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func label(b *strings.Builder, class string, x, y float64, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, escaped(text))
}

// escaped returns text escaped for XML.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder returns no error
	return b.String()
}
