// Package cli has what the programs share as commands: the root command and its exit
// codes, the flags of a NATS connection, errors that say what to do next, and output.
//
// A program's commands are functions that take the [Environment] in which they run and
// return a cobra command. [Main] runs them in a process, [Run] in a test.
package cli
