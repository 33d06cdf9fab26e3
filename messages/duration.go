package messages

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxDuration is the longest [Duration]: ten years of 365 days.
const MaxDuration = Duration(10 * 365 * 24 * time.Hour)

// Duration is a time.Duration of whole seconds. Its text is a number and a unit: 90s,
// 15m, 1h, 7d, 2w; parts may be combined (1h30m). *Duration implements pflag.Value.
type Duration time.Duration

var units = []struct {
	letter byte
	size   time.Duration
}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration parses a duration of 0 to [MaxDuration].
func ParseDuration(s string) (Duration, error) {
	if s == "" || len(s) > 32 {
		return 0, fmt.Errorf("a duration is a number and a unit (s, m, h, d, w), as in 90s, 15m, 1h, 7d")
	}
	var sum time.Duration
	for rest := s; rest != ""; {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 1 {
			return 0, fmt.Errorf("a duration is a number and a unit (s, m, h, d, w), as in 90s, 15m, 1h, 7d")
		}
		n, err := strconv.ParseInt(rest[:end], 10, 64)
		size := unit(rest[end])
		if err != nil || size == 0 {
			return 0, fmt.Errorf("a duration is a number and a unit (s, m, h, d, w), as in 90s, 15m, 1h, 7d")
		}
		if n > int64(time.Duration(MaxDuration)/size) {
			return 0, fmt.Errorf("a duration may be at most 3650d")
		}
		if sum += time.Duration(n) * size; Duration(sum) > MaxDuration {
			return 0, fmt.Errorf("a duration may be at most 3650d")
		}
		rest = rest[end+1:]
	}
	return Duration(sum), nil
}

func unit(letter byte) time.Duration {
	for _, u := range units {
		if u.letter == letter {
			return u.size
		}
	}
	return 0
}

// String returns the duration with as few parts as possible, and "0s" for zero and
// negative durations. It drops fractions of a second.
func (d Duration) String() string {
	rest := time.Duration(d).Truncate(time.Second)
	if rest <= 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units[1:] {
		if n := rest / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			rest -= n * u.size
		}
	}
	return b.String()
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalJSON encodes the duration as a string. A negative duration or a fraction of a
// second is an error: half a second would become "0s", which often means a default.
func (d Duration) MarshalJSON() ([]byte, error) {
	if d < 0 || d.Std()%time.Second != 0 {
		return nil, fmt.Errorf("the duration %s is not a number of whole seconds", d.Std())
	}
	return json.Marshal(d.String())
}

// UnmarshalJSON decodes a string as [ParseDuration] does.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil {
		return errType
	}
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Set parses the value of a command line flag.
func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Type returns the name of the type in help texts: "duration".
func (d *Duration) Type() string { return "duration" }

// nonZeroDuration is a [Duration] that may be absent but not zero.
type nonZeroDuration Duration

// UnmarshalJSON decodes a duration above zero.
func (d *nonZeroDuration) UnmarshalJSON(data []byte) error {
	if err := (*Duration)(d).UnmarshalJSON(data); err != nil {
		return err
	}
	if *d == 0 && string(data) != "null" {
		return fmt.Errorf("is 0s; leave it out for the default")
	}
	return nil
}
