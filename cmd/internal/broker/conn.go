package broker

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ConnOptions returns the options of a broker's connection. It reconnects without limit,
// also if a server refuses it twice, where nats.go would give up. It buffers nothing while
// it is disconnected: a reply must not be sent later, when the record says something else.
func ConnOptions(log zerolog.Logger) []nats.Option {
	level := repeatedErrorLevel(logEvery)
	return []nats.Option{
		nats.Name("lessor broker"),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an account or an auth callout may be available later than the server
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			e := log.WithLevel(level(err)).Err(err)
			if s != nil {
				e = e.Str("subject", s.Subject)
			}
			e.Msg("NATS reports an error")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: the broker closed the connection
				log.Warn().Err(err).Msg("disconnected from NATS")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info().Str("server", nc.ConnectedServerName()).Msg("reconnected to NATS") }),
	}
}

// repeatedErrorLevel returns a function that returns the level at which to log an error.
// An error that repeats, as from a server that refuses every connection, has the level
// error once in the interval, and debug otherwise.
func repeatedErrorLevel(every time.Duration) func(error) zerolog.Level {
	var mu sync.Mutex
	var last string
	var logged time.Time
	return func(err error) zerolog.Level {
		mu.Lock()
		defer mu.Unlock()
		if err.Error() == last && time.Since(logged) < every {
			return zerolog.DebugLevel
		}
		last, logged = err.Error(), time.Now()
		return zerolog.ErrorLevel
	}
}
