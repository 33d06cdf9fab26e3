// Command lessor leases AWS IAM users over NATS. It is the broker, and the commands of
// requesters and operators.
//
// Each command is a function that takes its [cli.Environment] and returns a cobra command,
// so that tests run commands without a process.
package main

import (
	"github.com/lessorhq/lessor/cmd/internal/cli"
)

func main() {
	cli.Main("lessor", newRootCmd)
}
