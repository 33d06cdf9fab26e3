package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
)

// durationFlag adds a flag that takes lessor's durations. Zero means that it was
// not given.
func durationFlag(cmd *cobra.Command, d *messages.Duration, name, help string) {
	cmd.Flags().Var((*someTime)(d), name, help)
	cmd.Flags().Lookup(name).DefValue = "" // or the help would show "0s" as the default
}

// someTime is a duration flag that is not zero where it is given: whoever means the
// default leaves it away.
type someTime messages.Duration

func (d *someTime) String() string { return messages.Duration(*d).String() }

func (d *someTime) Type() string { return "duration" }

func (d *someTime) Set(s string) error {
	v, err := messages.ParseDuration(s)
	if err == nil && v == 0 {
		err = errors.New("0s is no time; leave the flag away for the default")
	}
	*d = someTime(v)
	return err
}
