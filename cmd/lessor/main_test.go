package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// beProgram is the variable with which the test binary is the program itself:
// so tests start real processes of it, built as they are, race detector and all.
const beProgram = "LESSOR_TEST_BE_PROGRAM"

// onOneThread runs functions on a thread that lives as long as the tests. A
// child that is to die with its parent dies, on Linux, with the thread that
// started it.
var onOneThread = make(chan func())

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main()
		return
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		// The tests wait for processes and for leases to end, rather than compute.
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// Keys and accounts of the person who runs the tests are none of their
	// business, nor of the processes that they start.
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, prefix := range []string{"AWS_", "NATS_", "LESSOR_"} {
			if strings.HasPrefix(name, prefix) {
				_ = os.Unsetenv(name) // it has a name
			}
		}
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	go func() {
		runtime.LockOSThread()
		for f := range onOneThread {
			f()
		}
	}()
	return m.Run()
}
