package clitest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// runProgram is the variable that makes a test binary run the program that it tests
// instead of the tests. See [Start].
const runProgram = "LESSOR_TEST_RUN_PROGRAM"

// parallel is how many tests run at the same time, unless -test.parallel says it. They
// wait for processes and for leases to end rather than compute.
const parallel = "8"

// Main is the TestMain of a program's package. It runs the tests, or the program in a
// process that [Start] or the program under test has started.
func Main(m *testing.M, program func()) {
	if os.Getenv(runProgram) != "" {
		program()
		return
	}
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	err := isolate()
	if err == nil && !chosen {
		err = flag.Set("test.parallel", parallel)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// isolate removes the AWS, NATS and lessor settings of the user who runs the tests from
// the environment, also for child processes.
func isolate() error {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, prefix := range []string{"AWS_", "NATS_", "LESSOR_"} {
			if strings.HasPrefix(name, prefix) {
				if err := os.Unsetenv(name); err != nil {
					return err
				}
			}
		}
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}
