package consumer_test

import (
	"flag"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
)

// allPoints is the environment variable with which the crash matrix tries every point. By
// default it tries every pointsStep-th, in each scenario others.
const allPoints = "LESSOR_TEST_ALL_POINTS"

// Tests mostly wait: for NATS's disk, for what AWS takes, or until a crash is noticed. So
// more of them run at once than there are processors. The race detector needs the
// processors itself.
var (
	testsAtOnce  = unlessRace(8, 3)
	pointsAtOnce = unlessRace(12, 6) // of the crash matrix, in all scenarios
	pointsStep   = unlessRace(2, 4)  // of which one is tried
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
	if os.Getenv(allPoints) != "" {
		pointsStep = 1
	}
	debug.SetGCPercent(400) // hundreds of NATS servers come and go
	os.Exit(m.Run())
}
