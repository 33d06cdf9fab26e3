// Package lessortest starts lessor for a test: a NATS server, a simulated AWS account
// and brokers.
//
//	w := lessortest.Start(t)
//	w.Put(w.Broker(), lessortest.Secret)
//	lease := w.Lease("ci", `{"ttl":"1h"}`)
//	w.Clock.Advance(time.Hour)
//	w.WaitState(lease.Lease.Name, messages.StateRevoked)
//
// Everything runs in the test's process and ends with the test: the real NATS server
// with a store of its own, the simulator of package iamsim behind HTTP, and consumers
// and schedulers with the real AWS SDK. [World.Broker] starts a broker, as many as a
// test needs; its configuration makes it quick, and a test changes what it is about.
//
// # Time
//
// [Clock] is the time of the simulator and of all brokers. It runs as real time does,
// and [Clock.Advance] moves it forward. [World.Eventually] and what is built on it
// wait in real time.
//
// # Faults
//
//   - AWS: iamsim.Sim.SetFaults and SetHook; [World.Deny] and [Gate] are hooks for
//     frequent cases.
//   - The connection between a broker and NATS: [Line] is its dialer and cuts it,
//     pauses it, or delays one message.
//   - The broker: [Broker.Kill] ends it at once, and [Crash] does so at its n-th
//     effect on NATS or AWS.
//   - NATS: [World.StopNATS] and [World.StartNATS]; Options.Nodes starts a cluster.
//
// # Secret access keys
//
// At the end of each test the world searches for every secret access key that the
// simulator issued in everything that NATS has stored and that brokers have logged,
// and fails the test if it finds one. [World.Leaks] is that search.
//
// Users of this package are external test packages (package x_test): it imports most
// of lessor.
package lessortest
