// Command lessor leases AWS IAM users over NATS: the broker that makes and
// removes them, and what a requester needs on the command line.
//
// Every command is a function that takes the [environment] it runs in and
// returns a cobra command, so that a test runs the program as a user does,
// without a process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, systemEnvironment(), os.Args[1:])
	stop()
	os.Exit(code)
}
