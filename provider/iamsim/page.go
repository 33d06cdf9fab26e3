package iamsim

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
)

// page is a page of a list call. A marker names the last item of the previous page instead of a position, so that no
// item is skipped or repeated when items are added and removed between pages.
type page struct {
	size  int
	after string // "" means from the beginning
}

// page reads MaxItems and Marker.
func (r *request) page() (page, error) {
	p := page{size: 100}
	if v := r.get("MaxItems"); r.form.Has("MaxItems") {
		n, err := strconv.Atoi(v)
		switch {
		case err != nil:
			return p, &apiError{400, "MalformedInput", "Invalid value for MaxItems"}
		case n < 1:
			return p, invalidParam("MaxItems", v, "Member must have value greater than or equal to 1")
		case n > 1000:
			return p, invalidParam("MaxItems", v, "Member must have value less than or equal to 1000")
		}
		p.size = n
	}
	if r.form.Has("Marker") {
		b, err := base64.URLEncoding.DecodeString(r.get("Marker"))
		if err != nil || len(b) == 0 {
			return p, invalidMarker()
		}
		p.after = string(b)
	}
	return p, nil
}

func invalidMarker() error { return validation("Invalid Marker.") }

// afterNumber returns the marker of a list that is ordered by number.
func (p page) afterNumber() (int, error) {
	if p.after == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(p.after)
	if err != nil {
		return 0, invalidMarker()
	}
	return n, nil
}

func numberMarker(n int) string { return strconv.Itoa(n) }

// answer returns the result of a list call.
func (p page) answer(name string, members []node, more bool, last string) []node {
	nodes := []node{list(name, members), flag("IsTruncated", more)}
	if more {
		nodes = append(nodes, text("Marker", base64.URLEncoding.EncodeToString([]byte(last))))
	}
	return nodes
}

// listed returns the result of a list call for a small collection, ordered by key.
func listed[T any](r *request, name string, items []T, key func(T) string, show func(T) node) ([]node, error) {
	p, err := r.page()
	if err != nil {
		return nil, err
	}
	items = slices.SortedFunc(slices.Values(items), func(x, y T) int { return cmp.Compare(key(x), key(y)) })
	var members []node
	last, more := "", false
	for _, item := range items {
		if p.after != "" && key(item) <= p.after {
			continue
		}
		if len(members) == p.size {
			more = true
			break
		}
		members = append(members, show(item))
		last = key(item)
	}
	return p.answer(name, members, more, last), nil
}
