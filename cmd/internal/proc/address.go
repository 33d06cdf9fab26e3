package proc

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddresses returns n different loopback addresses that no process listens on. Their
// ports are below those that operating systems assign to outgoing connections, so that
// they stay free while the process that uses one is restarted.
func FreeAddresses(n int) ([]string, error) {
	const lowest, ports = 15000, 15000
	var all []string
	for range 50 * n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(ports))) // #nosec G404 -- any free port will do
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // not before the last is found, or one could be returned twice
		if all = append(all, l.Addr().String()); len(all) == n {
			return all, nil
		}
	}
	return nil, fmt.Errorf("found %d free ports of %d", len(all), n)
}
