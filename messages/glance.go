package messages

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// Glance is what it takes to know when a lease is due, and what it counts as.
type Glance struct {
	Name      LeaseName // its tokens are parts of the key
	State     State
	Due       time.Time // zero: never
	StartedAt time.Time // of the present attempt
	Sequence  uint64    // [Origin.Sequence]
	Failing   bool      // [Record.Failing]
	Spent     bool      // [Record.Cut] or [Record.Harmless]
}

// GlanceAt reads the record at a key of the lease bucket as far as a [Glance] goes.
// It takes what [DecodeRecordAt] takes and nothing else, and has its errors. A record
// as [Record.Encode] writes it costs a tenth of that, unless it is being undone.
func GlanceAt(key string, data []byte) (Glance, error) {
	if g, ok := quickGlance(key, data); ok {
		return g, nil
	}
	r, err := DecodeRecordAt(key, data)
	if err != nil {
		return Glance{}, err
	}
	return Glance{
		Name: r.Name(), State: r.State, Due: r.Due, StartedAt: r.StartedAt, Sequence: r.Origin.Sequence,
		Failing: r.Failing(), Spent: r.Cut() || r.Harmless(),
	}, nil
}

// quickGlance knows one way to write a record: that of [Record.Encode], without
// spaces and escapes. Where it is not sure it says so, and never guesses.
func quickGlance(key string, data []byte) (Glance, bool) {
	s := scan{rest: data}
	if !s.object(&recordShape) || len(s.rest) != 0 {
		return Glance{}, false
	}
	seen := &s.seen
	g := Glance{State: knownState(seen.state), Due: seen.due, StartedAt: seen.startedAt, Sequence: seen.sequence}
	switch {
	case seen.version != RecordVersion, seen.attempt < 1, g.State == "":
		return Glance{}, false
	case g.State == StateRevoking: // that takes more fields to judge
		return Glance{}, false
	case !g.State.Ended() && g.Due.IsZero():
		return Glance{}, false
	}
	identity, rest, _ := strings.Cut(key, ".")
	secret, id, _ := strings.Cut(rest, ".")
	if identity != string(seen.identity) || secret != string(seen.secret) || id != string(seen.id) {
		return Glance{}, false
	}
	var err error
	g.Name, err = NewLeaseName(identity, secret, id)
	return g, err == nil
}

func knownState(name []byte) State {
	for _, s := range []State{StateActive, StateProvisioning, StateRevoking, StateRevoked, StateFailed} {
		if string(name) == string(s) {
			return s
		}
	}
	return ""
}

// glanced are the fields that a glance is for.
type glanced struct {
	version, attempt     uint64
	due, startedAt       time.Time
	sequence             uint64
	state                []byte
	identity, secret, id []byte
}

// shape is what a value of a record may look like.
type shape struct {
	kind   kind
	fields []shapeField // of an object
}

type shapeField struct {
	quoted string // as it stands in the JSON: "name":
	path   string // from the record down
	shape  shape
}

type kind uint8

const (
	kindOther    kind = iota // what decides is a method: not for a glance
	kindText                 // a string
	kindExpiry               // a [HardExpiry]
	kindTime                 //
	kindDuration             //
	kindNumber               // a whole one, not negative
	kindBool                 //
	kindTexts                // a list of strings
	kindTextMap              // an object of strings
	kindJSON                 // any JSON
	kindObject               // one with known fields
)

var recordShape = shapeOf(reflect.TypeFor[Record](), "")

// shapeOf reads a type as encoding/json does.
func shapeOf(t reflect.Type, path string) shape {
	switch t {
	case reflect.TypeFor[time.Time]():
		return shape{kind: kindTime}
	case reflect.TypeFor[Duration]():
		return shape{kind: kindDuration}
	case reflect.TypeFor[HardExpiry]():
		return shape{kind: kindExpiry}
	case reflect.TypeFor[json.RawMessage]():
		return shape{kind: kindJSON}
	case reflect.TypeFor[[]string]():
		return shape{kind: kindTexts}
	case reflect.TypeFor[map[string]string]():
		return shape{kind: kindTextMap}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return shape{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem(), path)
	case reflect.String:
		return shape{kind: kindText}
	case reflect.Int, reflect.Uint64:
		return shape{kind: kindNumber}
	case reflect.Bool:
		return shape{kind: kindBool}
	case reflect.Struct:
		return shape{kind: kindObject, fields: fieldsOf(t, path)}
	}
	return shape{}
}

func fieldsOf(t reflect.Type, path string) []shapeField {
	var fields []shapeField
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields = append(fields, shapeField{quoted: `"` + name + `":`, path: path + name, shape: shapeOf(f.Type, path+name+".")})
	}
	return fields
}

// scan reads JSON from the front. Each method takes one value off, or returns false.
type scan struct {
	rest []byte
	seen glanced
}

func (s *scan) take(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// object takes an object with the fields of a shape.
func (s *scan) object(of *shape) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	next := 0 // they come in order
	for {
		f, at := s.field(of.fields, next)
		if f == nil || !s.value(&f.shape, f.path) {
			return false
		}
		if next = at + 1; !s.take(',') {
			return s.take('}')
		}
	}
}

// field takes the name of one of the fields, from one on.
func (s *scan) field(fields []shapeField, from int) (*shapeField, int) {
	for at := from; at < len(fields); at++ {
		if f := &fields[at]; len(s.rest) > len(f.quoted) && string(s.rest[:len(f.quoted)]) == f.quoted {
			s.rest = s.rest[len(f.quoted):]
			return f, at
		}
	}
	return nil, 0
}

func (s *scan) value(of *shape, path string) bool {
	switch of.kind {
	case kindText:
		text, ok := s.text()
		s.seen.text(path, text)
		return ok
	case kindExpiry:
		text, ok := s.text()
		return ok && (string(text) == string(HardExpiryLease) || string(text) == string(HardExpiryMaxTTL) || string(text) == string(HardExpiryNone))
	case kindTime:
		return s.time(path)
	case kindDuration:
		text, ok := s.text()
		return ok && shortDuration(text)
	case kindNumber:
		n, ok := s.number()
		s.seen.number(path, n)
		return ok
	case kindBool:
		return s.word("true") || s.word("false")
	case kindTexts:
		return s.list('[', ']', func() bool { _, ok := s.text(); return ok })
	case kindTextMap:
		return s.list('{', '}', func() bool { return s.member(func() bool { _, ok := s.text(); return ok }) })
	case kindJSON:
		return s.any(maxGlanceDepth)
	case kindObject:
		return s.object(of)
	}
	return false
}

func (g *glanced) text(path string, text []byte) {
	switch path {
	case "state":
		g.state = text
	case "identity":
		g.identity = text
	case "secret":
		g.secret = text
	case "id":
		g.id = text
	}
}

func (g *glanced) number(path string, n uint64) {
	switch path {
	case "v":
		g.version = n
	case "attempt":
		g.attempt = n
	case "origin.seq":
		g.sequence = n
	}
}

// time takes a time in UTC.
func (s *scan) time(path string) bool {
	text, ok := s.text()
	if !ok || len(text) < len("2006-01-02T15:04:05Z") || text[len(text)-1] != 'Z' {
		return false
	}
	var t time.Time
	if t.UnmarshalText(text) != nil {
		return false
	}
	switch path {
	case "due":
		s.seen.due = t
	case "started_at":
		s.seen.startedAt = t
	}
	return true
}

// text takes a string without escapes.
func (s *scan) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	end := bytes.IndexByte(s.rest, '"')
	if end < 0 {
		return nil, false
	}
	text := s.rest[:end]
	for _, c := range text {
		if c < ' ' || c == '\\' || c >= 0x80 {
			return nil, false
		}
	}
	s.rest = s.rest[end+1:]
	return text, true
}

// number takes a whole number that any integer can hold.
func (s *scan) number() (n uint64, ok bool) {
	end := 0
	for end < len(s.rest) && s.rest[end] >= '0' && s.rest[end] <= '9' {
		n = 10*n + uint64(s.rest[end]-'0')
		end++
	}
	if end == 0 || end > 18 || (end > 1 && s.rest[0] == '0') {
		return 0, false
	}
	s.rest = s.rest[end:]
	return n, true
}

func (s *scan) word(w string) bool {
	if len(s.rest) < len(w) || string(s.rest[:len(w)]) != w {
		return false
	}
	s.rest = s.rest[len(w):]
	return true
}

// list takes what stands between two brackets, by commas.
func (s *scan) list(open, end byte, item func() bool) bool {
	if !s.take(open) {
		return false
	}
	if s.take(end) {
		return true
	}
	for item() {
		if !s.take(',') {
			return s.take(end)
		}
	}
	return false
}

// member takes a name and its value.
func (s *scan) member(value func() bool) bool {
	_, ok := s.text()
	return ok && s.take(':') && value()
}

// maxGlanceDepth is how deep what is looked at may be nested.
const maxGlanceDepth = 16

func (s *scan) any(depth int) bool {
	if depth == 0 || len(s.rest) == 0 {
		return false
	}
	switch s.rest[0] {
	case '{':
		return s.list('{', '}', func() bool { return s.member(func() bool { return s.any(depth - 1) }) })
	case '[':
		return s.list('[', ']', func() bool { return s.any(depth - 1) })
	case '"':
		_, ok := s.text()
		return ok
	}
	if s.word("true") || s.word("false") {
		return true
	}
	_, ok := s.number()
	return ok
}

// shortDuration knows durations of at most two parts, of at most three digits each:
// none of them is too long.
func shortDuration(text []byte) bool {
	for range 2 {
		digits := 0
		for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
			digits++
		}
		if digits < 1 || digits > 3 || digits == len(text) || bytes.IndexByte([]byte("dhms"), text[digits]) < 0 {
			return false
		}
		if text = text[digits+1:]; len(text) == 0 {
			return true
		}
	}
	return false
}
