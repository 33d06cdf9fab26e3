package embedded

import (
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// defaultServerName names a server that has no other name.
const defaultServerName = "lessor-embedded"

// server translates the options into the NATS server's own.
func (o Options) server() (*server.Options, error) {
	opts := &server.Options{
		ServerName: o.ServerName,
		JetStream:  true,
		StoreDir:   o.StoreDir,
		SyncAlways: o.Durable,
		NoSigs:     true, // signals are the program's business
		DontListen: o.Listen == "",
	}
	if opts.ServerName == "" {
		opts.ServerName = defaultServerName
	}
	if o.Listen != "" {
		var err error
		if opts.Host, opts.Port, err = hostPort(o.Listen); err != nil {
			return nil, err
		}
	}
	if o.Configure != nil {
		o.Configure(opts)
	}
	return opts, nil
}

// hostPort reads an address to listen on. Port 0 is any free one, as in net.Listen;
// the NATS server takes 0 for its default and -1 for any.
func hostPort(listen string) (string, int, error) {
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q is not a host and a port, as in 127.0.0.1:4222", listen)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: the port is a number from 0 to 65535", listen)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}
