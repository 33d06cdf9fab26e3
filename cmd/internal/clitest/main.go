package clitest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// BeProgram is the variable with which the test binary is the program itself:
// so tests start real processes of it, built as they are, race detector and all.
const BeProgram = "LESSOR_TEST_BE_PROGRAM"

func RunTests(m *testing.M) int {
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
	return m.Run()
}
