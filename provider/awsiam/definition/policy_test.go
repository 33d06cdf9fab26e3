package definition

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages/record"
)

func TestComposeAddsTheDeny(t *testing.T) {
	at := time.Date(2026, 11, 22, 23, 15, 0, 999, time.FixedZone("CET", 3600))
	const deny = `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T22:15:00Z"}}}`
	for _, c := range []struct {
		configured string
		at         time.Time
		want       string
	}{
		{``, time.Time{}, ``},
		{``, at, `{"Version":"2012-10-17","Statement":[` + deny + `]}`},
		{`{"Version":"2008-10-17","Id":"x","Statement":{"Sid":"<&>"}}`, at, `{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"<&>"},` + deny + `]}`},
		{`{"Version":"2012-10-17","Statement":[{"Sid":"a"},{"Sid":"b"}]}`, time.Time{}, `{"Version":"2012-10-17","Statement":[{"Sid":"a"},{"Sid":"b"}]}`},
	} {
		if got, err := Compose([]byte(c.configured), c.at); err != nil || got != c.want {
			t.Errorf("%s until %s makes\n%s (%v), want\n%s", c.configured, c.at, got, err, c.want)
		}
	}
	// The escapes that encoding/json writes in a record are removed.
	const angles = `{"Version":"2012-10-17","Statement":[{"Sid":"<&>"}]}`
	encoded, err := record.Record{User: record.User{InlinePolicy: []byte(angles)}}.Encode()
	if err != nil || strings.Contains(string(encoded), "<") {
		t.Fatalf("%s (%v)", encoded, err)
	}
	var read record.Record
	if err := json.Unmarshal(encoded, &read); err != nil {
		t.Fatal(err)
	}
	if got, err := Compose(read.User.InlinePolicy, time.Time{}); err != nil || got != angles {
		t.Errorf("from a record it is %s (%v)", got, err)
	}
	if got, _ := Compose(nil, at); quotaSize(got) != 159 {
		t.Errorf("the Deny alone has %d characters", quotaSize(got))
	}
	for _, damaged := range []string{`{`, `[]`, `{"Statement":"x"}`} {
		if _, err := Compose([]byte(damaged), at); err == nil {
			t.Errorf("%s is accepted", damaged)
		}
	}
}

// Whatever the configured statements, the policy ends with the Deny, whose date is never
// late.
func TestComposeEndsWithTheDeny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sids := rapid.SliceOf(rapid.String()).Draw(t, "sids")
		type statement struct{ Sid string }
		configured := struct {
			Version   string
			Statement []statement
		}{Version: "2012-10-17"}
		for _, s := range sids {
			configured.Statement = append(configured.Statement, statement{s})
		}
		raw, err := json.Marshal(configured)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
		got, err := Compose(raw, at)
		if err != nil {
			t.Fatal(err)
		}
		var policy struct {
			Statement []struct {
				Sid, Effect, Action, Resource string
				Condition                     map[string]map[string]time.Time
			}
		}
		if err := json.Unmarshal([]byte(got), &policy); err != nil {
			t.Fatal(err)
		}
		last := policy.Statement[len(policy.Statement)-1]
		date := last.Condition["DateGreaterThan"]["aws:CurrentTime"]
		if len(policy.Statement) != len(sids)+1 || last.Effect+last.Action+last.Resource != "Deny**" || date.After(at) || at.Sub(date) >= time.Second {
			t.Fatalf("%s until %s makes %s", raw, at, got)
		}
	})
}

func TestCompact(t *testing.T) {
	for document, want := range map[string]string{
		``:                             ``,
		"{ \"a\" :\n[ 1 ] }":           `{"a":[1]}`,
		`{"a":" \u003c\u003E\u0026 "}`: `{"a":" <>& "}`,
		`{"a":"\\u003c\\\u003c\""}`:    `{"a":"\\u003c\\<\""}`,
		`{"a":"\u2603\n\u003d"}`:       `{"a":"\u2603\n\u003d"}`,
		`{"a":"☃<"}`:                   `{"a":"☃<"}`,
	} {
		if got, err := Compact([]byte(document)); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", document, got, err, want)
		}
	}
	for _, damaged := range []string{`{`, ` `, `{"a":"\"}`} {
		if got, err := Compact([]byte(damaged)); err == nil {
			t.Errorf("%s is %s", damaged, got)
		}
	}
}

func TestCompactKeepsTheMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{rapid.String().Draw(t, "key"): rapid.String().Draw(t, "value")}
		raw, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Compact(raw)
		var read map[string]string
		if err != nil || json.Unmarshal([]byte(got), &read) != nil || !maps.Equal(read, want) {
			t.Fatalf("%s is %s (%v)", raw, got, err)
		}
	})
}
