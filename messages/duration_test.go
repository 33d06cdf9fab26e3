package messages_test

import (
	"encoding/json"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0s": 0, "1s": time.Second, "90s": 90 * time.Second, "15m": 15 * time.Minute, "1h": time.Hour,
		"7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1h30m": 90 * time.Minute, "1w1d1h1m1s": 8*24*time.Hour + 3661*time.Second,
		"007s": 7 * time.Second, "1m1h": 61 * time.Minute, "1s1s": 2 * time.Second,
		"3650d": messages.MaxDuration.Std(), "315360000s": messages.MaxDuration.Std(), "3649d24h": messages.MaxDuration.Std(),
		strings.Repeat("0", 31) + "s": 0,
	} {
		got, err := messages.ParseDuration(s)
		if err != nil || got.Std() != want {
			t.Errorf("%q: got %s, %v; want %s", s, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for _, s := range []string{
		"", " ", "1", "s", "h1", "1h30", "1.5h", "-1h", "+1h", "1 h", " 1h", "1h ", "1H", "1ms", "1us", "1ns", "1y", "1µs", "1h\x00",
		"１h", "1ｈ", "0x1s", "1e3s", "1_0s", "∞", "1h-1m", "3650d1s", "3651d", "522w", "87601h", "315360001s", "1825d1825d1s",
		"9223372036854775807s", "9223372036854775808s", "99999999999999999999999999w", "106751d24h",
		strings.Repeat("0", 32) + "s", strings.Repeat("1s", 5000),
	} {
		if got, err := messages.ParseDuration(s); err == nil {
			t.Errorf("%.40q: got %s", s, got)
		} else if len(err.Error()) > 100 {
			t.Errorf("%.40q: the error has %d bytes", s, len(err.Error()))
		}
	}
}

func TestDurationStringHasTheFewestParts(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "1s": time.Second, "1m30s": 90 * time.Second, "15m": 15 * time.Minute, "1h": 60 * time.Minute,
		"1d": 24 * time.Hour, "14d": 14 * 24 * time.Hour, "1d1s": 24*time.Hour + time.Second, "3650d": messages.MaxDuration.Std(),
	} {
		if got := messages.Duration(d).String(); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
	for _, none := range []time.Duration{-time.Second, -time.Nanosecond, time.Nanosecond, time.Second - 1} {
		if got := messages.Duration(none).String(); got != "0s" {
			t.Errorf("%s: got %s", none, got)
		}
	}
	if got := messages.Duration(1999 * time.Millisecond).String(); got != "1s" {
		t.Errorf("the fraction of a second is not dropped: got %s", got)
	}
}

func TestDurationRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := messages.Duration(time.Duration(rapid.Int64Range(0, int64(messages.MaxDuration.Std()/time.Second)).Draw(t, "seconds")) * time.Second)
		if back, err := messages.ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("%s: parsed again: %s, %v", d, back, err)
		}
		var back messages.Duration
		if err := json.Unmarshal(must(json.Marshal(d)), &back); err != nil || back != d {
			t.Fatalf("%s: decoded again: %s, %v", d, back, err)
		}
	})
}

// Parts add up in any order, and a sum above the maximum is refused.
func TestDurationPartsAddUp(t *testing.T) {
	seconds := map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
	part := rapid.StringMatching(`[0-9]{1,6}[smhdw]`)
	rapid.Check(t, func(t *rapid.T) {
		var want int64
		text := ""
		for _, p := range rapid.SliceOfN(part, 1, 4).Draw(t, "parts") {
			text += p
			var n int64
			for _, digit := range p[:len(p)-1] {
				n = n*10 + int64(digit-'0')
			}
			want += n * seconds[p[len(p)-1:]]
		}
		got, err := messages.ParseDuration(text)
		if want > int64(messages.MaxDuration.Std()/time.Second) {
			if err == nil {
				t.Fatalf("%s: got %s, which is above the maximum", text, got)
			}
			return
		}
		if err != nil || got.Std() != time.Duration(want)*time.Second {
			t.Fatalf("%s: got %s, %v; want %ds", text, got, err, want)
		}
	})
}

func TestDurationInJSONIsAString(t *testing.T) {
	if got := string(mustJSON(t, messages.Duration(90*time.Minute))); got != `"1h30m"` {
		t.Errorf("got %s", got)
	}
	d := messages.Duration(time.Hour)
	for _, data := range []string{`3600`, `3600000000000`, `true`, `{}`, `["1h"]`, `""`, `null`, `"1.5h"`} {
		if err := json.Unmarshal([]byte(data), &d); err == nil || d != messages.Duration(time.Hour) {
			t.Errorf("%s: got %s, %v", data, d, err)
		}
	}
}

func TestDurationIsAFlag(t *testing.T) {
	var d messages.Duration
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var(&d, "ttl", "")
	if err := flags.Parse([]string{"-ttl", "7d"}); err != nil || d.Std() != 7*24*time.Hour {
		t.Errorf("got %s, %v", d, err)
	}
	if err := flags.Parse([]string{"-ttl", "7"}); err == nil || d.Std() != 7*24*time.Hour {
		t.Errorf("got %s, %v", d, err)
	}
	if d.Type() != "duration" {
		t.Errorf("the type is %s", d.Type())
	}
}
