package embedded

import (
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// defaultServerName is the name of a server if [Options] have none.
const defaultServerName = "lessor-embedded"

// server returns the options as those of the NATS server.
func (o Options) server() (*server.Options, error) {
	opts := &server.Options{
		ServerName: o.ServerName,
		JetStream:  true,
		StoreDir:   o.StoreDir,
		SyncAlways: o.Durable,
		NoSigs:     true, // the program handles signals
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

// hostPort parses an address to listen on. Port 0 is any free port, as in [net.Listen];
// for the NATS server 0 is its default port and -1 is any.
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
