package main

import (
	"fmt"
	"time"
)

// clockSkew is the variable that puts a broker's clock wrong. Only a soak sets it.
const clockSkew = "LESSOR_CLOCK_SKEW"

// brokerClock is the clock for a broker's decisions.
func brokerClock(env *environment) (func() time.Time, error) {
	text := env.Getenv(clockSkew)
	if text == "" {
		return time.Now, nil
	}
	skew, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%s is %q; it is for tests, and a duration", clockSkew, text)
	}
	return func() time.Time { return time.Now().Add(skew) }, nil
}
