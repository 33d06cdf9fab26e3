package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
)

// durationFlag adds a flag for one of lessor's durations. Zero means that it was not given.
func durationFlag(cmd *cobra.Command, d *messages.Duration, name, help string) {
	cmd.Flags().Var((*positiveDuration)(d), name, help)
	cmd.Flags().Lookup(name).DefValue = "" // without this the help shows "0s" as the default
}

// positiveDuration is the value of a duration flag, which can't be zero.
type positiveDuration messages.Duration

// String is described at [pflag.Value], as are Type and Set.
func (d *positiveDuration) String() string { return messages.Duration(*d).String() }

func (d *positiveDuration) Type() string { return "duration" }

func (d *positiveDuration) Set(s string) error {
	v, err := messages.ParseDuration(s)
	if err == nil && v == 0 {
		err = errors.New("the duration is 0s; leave out the flag for the default")
	}
	*d = positiveDuration(v)
	return err
}
