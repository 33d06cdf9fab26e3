// Command lessor-bench measures a broker, and beside it the same work without a broker.
package main

import (
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
)

func main() {
	broker.CollectRarely() // as a broker does
	cli.Main("lessor-bench", newRootCmd)
}
