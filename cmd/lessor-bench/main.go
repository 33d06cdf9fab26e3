// Command lessor-bench measures a broker, and beside it the same work without a broker.
package main

import "github.com/lessorhq/lessor/cmd/internal/cli"

func main() {
	cli.Main("lessor-bench", newRootCmd)
}
