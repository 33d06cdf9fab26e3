package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// svgChart is a picture of curves over a number that grows by orders of magnitude: its
// horizontal axis is logarithmic.
type svgChart struct {
	title, note string // above the curves, and below them
	x, y        string // what the axes are of
	logarithmic bool   // the vertical axis is, too; else it begins at 0, or below
	series      []svgSeries
}

// svgSeries is a curve. What a logarithmic axis has no place for is left out of it.
type svgSeries struct {
	name   string
	points []svgPoint
}

type svgPoint struct{ x, y float64 }

// Where the curves are in the picture, in its pixels.
const (
	svgWidth, svgHeight = 760, 440
	svgLeft, svgRight   = 80, 730
	svgTop, svgBottom   = 100, 360
)

// svgStyle paints the ground, too: so the picture can be read on any page. Curves
// differ by their dashes, not by the colour alone.
const svgStyle = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}.note{font-size:11px}
.middle{text-anchor:middle}.end{text-anchor:end}.ground{fill:#fff}.grid{stroke:#d1d9e0}.axis{stroke:#59636e;fill:none}
.s0,.s1{stroke-width:2;fill:none}.s0{stroke:#0969da}.s1{stroke:#bc4c00;stroke-dasharray:6 4}.p0{fill:#0969da}.p1{fill:#bc4c00}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.ground{fill:#0d1117}.grid{stroke:#3d444d}.axis{stroke:#9198a1}
.s0{stroke:#4493f8}.s1{stroke:#f0883e}.p0{fill:#4493f8}.p1{fill:#f0883e}}
</style>
`

// svg is the picture.
func (c svgChart) svg() string {
	x, y := c.scales()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n<title>%s</title>\n%s", svgWidth, svgHeight, escaped(c.title), svgStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", svgWidth, svgHeight)
	label(&b, "title", svgLeft, 30, c.title)
	label(&b, "note", svgLeft, svgHeight-12, c.note)
	label(&b, "middle", (svgLeft+svgRight)/2, svgBottom+42, c.x)
	label(&b, "start", 12, svgTop-16, c.y)
	for _, v := range x.ticks {
		line(&b, "grid", x.at(v), svgTop, x.at(v), svgBottom)
		label(&b, "middle", x.at(v), svgBottom+20, svgNumber(v))
	}
	for _, v := range y.ticks {
		line(&b, "grid", svgLeft, y.at(v), svgRight, y.at(v))
		label(&b, "end", svgLeft-8, y.at(v)+4, svgNumber(v))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dV%dH%d"/>`+"\n", svgLeft, svgTop, svgBottom, svgRight)
	legend := float64(svgLeft)
	for i, s := range c.series {
		class := strconv.Itoa(i % 2) // as many as the style knows
		line(&b, "s"+class, legend, svgTop-46, legend+28, svgTop-46)
		label(&b, "start", legend+36, svgTop-42, s.name)
		legend += 64 + 7*float64(utf8.RuneCountInString(s.name))
		c.curve(&b, s, class, x, y)
	}
	return b.String() + "</svg>\n"
}

// curve draws one, with a dot for each of its points that tells its numbers.
func (c svgChart) curve(b *strings.Builder, s svgSeries, class string, x, y svgScale) {
	var path, dots strings.Builder
	for _, p := range s.points {
		if !x.has(p.x) || !y.has(p.y) {
			continue
		}
		fmt.Fprintf(&path, "%.1f,%.1f ", x.at(p.x), y.at(p.y))
		fmt.Fprintf(&dots, `<circle class="p%s" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`+"\n", class, x.at(p.x), y.at(p.y),
			escaped(fmt.Sprintf("%s: %s %s, %s %s", s.name, number(p.x), c.x, svgNumber(p.y), c.y)))
	}
	fmt.Fprintf(b, `<polyline class="s%s" points="%s"/>`+"\n%s", class, strings.TrimSpace(path.String()), dots.String())
}

// scales are those of the axes, so wide that all points are between their ends.
func (c svgChart) scales() (x, y svgScale) {
	var xs, ys []float64
	for _, s := range c.series {
		for _, p := range s.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	x = logarithmicScale(xs, svgLeft, svgRight)
	if c.logarithmic {
		return x, logarithmicScale(ys, svgBottom, svgTop)
	}
	return x, linearScale(ys, svgBottom, svgTop)
}

// svgNumber is a number in few letters.
func svgNumber(v float64) string {
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

// escaped is text as it may stand in XML.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // into memory
	return b.String()
}
