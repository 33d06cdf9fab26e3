package embedded

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/rs/zerolog"
)

// logger writes the NATS server's log to zerolog. A fatal line ends nothing here,
// unlike in the nats-server program, so it is kept for whoever waits for the
// server's start.
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

// Noticef is for debugging: the program that embeds the server says itself that
// it runs, and where. The banner is a picture, and left out.
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
