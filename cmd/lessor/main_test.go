package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// beProgram is the variable with which the test binary is the program itself:
// so tests start real processes of it, built as they are, race detector and all.
const beProgram = "LESSOR_TEST_BE_PROGRAM"

// onMainThread runs functions on a thread that lives as long as the tests. A
// child that is to die with its parent dies, on Linux, with the thread that
// started it.
var onMainThread = make(chan func())

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main()
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// Contexts, keys and accounts of the person who runs the tests are none of
	// their business, nor of the processes that they start.
	home, err := os.MkdirTemp("", "lessor-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(home) }() // only temporary data
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, prefix := range []string{"AWS_", "NATS_", "LESSOR_"} {
			if strings.HasPrefix(name, prefix) {
				_ = os.Unsetenv(name) // it has a name
			}
		}
	}
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	go func() {
		runtime.LockOSThread()
		for f := range onMainThread {
			f()
		}
	}()
	return m.Run()
}
