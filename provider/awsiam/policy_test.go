package awsiam

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCompose(t *testing.T) {
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
		if got, err := compose([]byte(c.configured), c.at); err != nil || got != c.want {
			t.Errorf("%s until %s makes\n%s (%v), want\n%s", c.configured, c.at, got, err, c.want)
		}
	}
	if got, _ := compose(nil, at); quotaSize(got) != 159 {
		t.Errorf("the Deny alone has %d characters", quotaSize(got))
	}
	for _, damaged := range []string{`{`, `[]`, `{"Statement":"x"}`} {
		if _, err := compose([]byte(damaged), at); err == nil {
			t.Errorf("%s is taken", damaged)
		}
	}
}

// Whatever is configured, the policy ends with the Deny, never after its time.
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
		got, err := compose(raw, at)
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
