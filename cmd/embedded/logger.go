package embedded

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/rs/zerolog"
)

// logger writes the NATS server's log to zerolog. Unlike in the nats-server program a
// fatal line does not end the process, so the first one is kept for [Server.start].
type logger struct {
	log   zerolog.Logger
	debug bool
	fatal chan string // the first fatal line
}

func newLogger(log zerolog.Logger) *logger {
	return &logger{
		log:   log.With().Str("component", "nats-server").Logger(),
		debug: log.Debug().Enabled(),
		fatal: make(chan string, 1),
	}
}

// Noticef logs at the debug level: the program that embeds the server logs itself that
// and where it runs. Lines of the banner, which have no letters, are left out.
func (l *logger) Noticef(format string, v ...any) {
	if line := fmt.Sprintf(format, v...); strings.ContainsFunc(line, unicode.IsLetter) {
		l.log.Debug().Msg(line)
	}
}

func (l *logger) Warnf(format string, v ...any)  { l.log.Warn().Msgf(format, v...) }
func (l *logger) Errorf(format string, v ...any) { l.log.Error().Msgf(format, v...) }
func (l *logger) Debugf(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
func (l *logger) Tracef(format string, v ...any) { l.log.Trace().Msgf(format, v...) }

func (l *logger) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error().Bool("fatal", true).Msg(line)
	select {
	case l.fatal <- line:
	default:
	}
}
