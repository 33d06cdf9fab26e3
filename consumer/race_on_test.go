//go:build race

package consumer_test

// raceDetector says whether the tests run with it.
const raceDetector = true
