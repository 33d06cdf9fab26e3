// Command lessor-soak kills brokers and NATS servers and disturbs AWS at random under
// load, and checks that each guarantee holds.
package main

import "github.com/lessorhq/lessor/cmd/internal/cli"

func main() {
	cli.Main("lessor-soak", newRootCmd)
}
