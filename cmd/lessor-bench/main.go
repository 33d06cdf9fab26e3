// Command lessor-bench measures a broker, beside the same work without one.
package main

import "github.com/lessorhq/lessor/cmd/internal/cli"

func main() {
	cli.Main("lessor-bench", newRootCmd)
}
