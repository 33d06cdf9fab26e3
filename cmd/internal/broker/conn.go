package broker

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ConnOptions are the options of a broker's connection: it never gives up (nats.go does
// where a server refuses it twice), and
// holds nothing back while it is away. What was meant for a requester then must
// not come out of a buffer later, when the record says something else.
func ConnOptions(log zerolog.Logger) []nats.Option {
	level := onceInAWhile(tellEvery)
	return []nats.Option{
		nats.Name("lessor broker"),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an account or its callout may come later than the server
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			e := log.WithLevel(level(err)).Err(err)
			if s != nil {
				e = e.Str("subject", s.Subject)
			}
			e.Msg("NATS reports an error")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we have closed the connection
				log.Warn().Err(err).Msg("NATS is away")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info().Str("server", nc.ConnectedServerName()).Msg("NATS is back") }),
	}
}

// onceInAWhile returns the level at which an error is logged: one that comes again and
// again, as from a server that refuses every connection, is an error once in a while.
func onceInAWhile(every time.Duration) func(error) zerolog.Level {
	var mu sync.Mutex
	var last string
	var told time.Time
	return func(err error) zerolog.Level {
		mu.Lock()
		defer mu.Unlock()
		if err.Error() == last && time.Since(told) < every {
			return zerolog.DebugLevel
		}
		last, told = err.Error(), time.Now()
		return zerolog.ErrorLevel
	}
}
