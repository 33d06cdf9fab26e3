// Command lessor leases AWS IAM users over NATS: the broker that makes and
// removes them, and what a requester needs on the command line.
//
// Every command is a function that takes the [environment] it runs in and
// returns a cobra command, so that a test runs the program as a user does,
// without a process.
package main

import (
	"github.com/lessorhq/lessor/cmd/internal/cli"
)

func main() {
	cli.Main("lessor", newRootCmd)
}
