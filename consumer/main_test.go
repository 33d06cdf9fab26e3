package consumer_test

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// Tests wait most of the time, for NATS's disk, for what AWS takes, or for a crash to
// be found out: some more than there are processors keep these busy. The race detector
// needs them for itself.
var (
	testsAtOnce  = unlessRace(8, 3)
	pointsAtOnce = unlessRace(12, 6) // at which brokers die, in all scenarios
	pointsStep   = unlessRace(1, 3)  // of which one is tried
)

func unlessRace(n, race int) int {
	if raceDetector {
		return race
	}
	return n
}

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(testsAtOnce)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
