// Package clitest has what the tests of the programs share: terminals that run a command in
// the test's process, child processes that are the program itself, and a broker with its
// NATS server and a simulated AWS account.
//
// Only tests import it.
package clitest

import "time"

// Patience is how long a test waits for what must happen.
const Patience = 30 * time.Second
