package main

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func TestMain(m *testing.M) {
	if os.Getenv(clitest.BeProgram) != "" {
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
	os.Exit(clitest.RunTests(m))
}
