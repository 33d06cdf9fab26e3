// Command lessor-soak breaks brokers, NATS servers and AWS at random under load, and
// counts what was lost.
package main

import "github.com/lessorhq/lessor/cmd/internal/cli"

func main() {
	cli.Main("lessor-soak", newRootCmd)
}
