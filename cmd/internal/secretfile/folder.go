package secretfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// FollowInterval is a good interval between two looks at the folder of --secrets.
//
// The folder is polled. The kernel announces no changes that another machine makes over
// NFS, and nothing useful when Kubernetes replaces a link to the folder that has the files.
// Names and contents show both.
const FollowInterval = 2 * time.Second

// lookTimeout bounds one look at the folder.
const lookTimeout = 30 * time.Second

// fingerprint is a hash of the names and contents of the files.
type fingerprint [sha256.Size]byte

// Folder keeps a broker's definitions in step with the files of a folder. It is not safe
// for concurrent use.
type Folder struct {
	dir     string
	secrets *consumer.Secrets
	log     zerolog.Logger

	seen, put fingerprint       // of the last look, and of the last time that all files were put
	retry     bool              // a put failed for a reason that may go away
	from      map[string]string // the path that defined a secret last, by secret

	reported reports
}

// reports is what was logged already, so that it is not repeated while nothing changes.
type reports struct {
	failure  string            // the kind of failure of the folder as a whole
	empty    bool              // that there are no definitions
	files    map[string]string // the text about a file, by path
	unusable map[string]bool   // secrets whose file may be one that can't be read
}

func newReports() reports { return reports{files: map[string]string{}, unusable: map[string]bool{}} }

// NewFolder returns a folder whose definitions are stored in secrets.
func NewFolder(dir string, secrets *consumer.Secrets, log zerolog.Logger) *Folder {
	return &Folder{dir: dir, secrets: secrets, log: log, from: map[string]string{}, reported: newReports()}
}

// Load stores the definitions of all files and logs which are wrong. It returns an error if
// the folder can't be read. Definitions that NATS could not take are retried by Follow.
func (f *Folder) Load(ctx context.Context) error {
	files, err := ReadFolder(f.dir)
	if err != nil {
		return err
	}
	f.seen = fingerprintOf(files)
	if err := f.putAll(ctx, files); !isTemporary(err) {
		return err
	} else if ctx.Err() == nil {
		f.reportFailure(err, "NATS")
	}
	return nil
}

// Follow looks at the folder at each tick, until ctx ends. At a hangup it stores and logs
// every definition again.
func (f *Folder) Follow(ctx context.Context, ticks <-chan time.Time, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			f.Look(ctx, false)
		case <-hangups:
			f.log.Info().Str("folder", f.dir).Msg("reading the definitions again")
			f.reported = newReports()
			f.Look(ctx, true)
		}
	}
}

// Look reads the folder once and stores what has changed. Unless now is set, a change is
// stored only if two looks in a row see the same contents: a file may be half written.
func (f *Folder) Look(ctx context.Context, now bool) {
	bounded, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	files, err := ReadFolder(f.dir)
	if err != nil {
		f.seen = fingerprint{}
		f.reportFailure(err, err.Error())
		return
	}
	before := f.seen
	f.seen = fingerprintOf(files)
	if !f.retry {
		f.reported.failure = "" // it was a failure to read the folder
	}
	if !now && (f.seen != before || f.seen == f.put && !f.retry) {
		return
	}
	if err = f.putAll(bounded, files); ctx.Err() == nil {
		f.reportFailure(err, "NATS")
	}
}

// reportFailure logs a failure of the folder as a whole; nil ends it. Of several failures
// of one kind only the first is logged: NATS has many errors for being unavailable.
func (f *Folder) reportFailure(err error, kind string) {
	if err == nil {
		kind = ""
	}
	if kind != "" && kind != f.reported.failure {
		f.log.Error().Err(err).Str("folder", f.dir).Msg("the definitions can't be updated from the folder; trying again; stored definitions stay in force")
	}
	f.reported.failure = kind
}

func fingerprintOf(files []File) fingerprint {
	h := sha256.New()
	for _, f := range files {
		_, _ = fmt.Fprintf(h, "%q %x\n", f.Path, f.sum) // a hash returns no errors
	}
	return fingerprint(h.Sum(nil))
}

// putAll stores every definition. Errors of single files are logged; the error that it
// returns is for the folder as a whole, and everything must be retried.
func (f *Folder) putAll(ctx context.Context, files []File) error {
	f.put, f.retry = fingerprintOf(files), false
	if len(files) == 0 && !f.reported.empty {
		f.log.Warn().Str("folder", f.dir).Msg("there are no definitions (*.yaml, *.yml, *.json) in the folder")
	}
	f.reported.empty = len(files) == 0
	for _, file := range files {
		f.putOne(ctx, file)
	}
	maps.DeleteFunc(f.reported.files, func(path, _ string) bool { return !hasPath(files, path) })
	if err := f.release(ctx, files); err != nil {
		f.retry = true
		return err
	}
	return nil
}

// hasPath reports whether one of the files has the path.
func hasPath(files []File, path string) bool {
	return slices.ContainsFunc(files, func(s File) bool { return s.Path == path })
}

// putOne stores the definition of one file and logs the result, unless it is the same as
// at the last time.
func (f *Folder) putOne(ctx context.Context, file File) {
	changed, temporary, err := false, false, file.Err
	if err == nil {
		f.from[file.Secret.Name] = file.Path
		changed, err = f.secrets.Put(ctx, file.Secret, consumer.SourceFile)
		temporary = isTemporary(err)
		f.retry = f.retry || temporary
	}
	text := fmt.Sprintf("%x %v", file.sum, err)
	if temporary { // only the first of one kind, as in reportFailure
		text = fmt.Sprintf("%x %s", file.sum, messages.AsError(err).Code)
	}
	if before, reported := f.reported.files[file.Path]; reported && before == text && !changed {
		return
	}
	f.reported.files[file.Path] = text
	switch {
	case err == nil:
		f.log.Info().Str("file", file.Path).Str("secret", file.Secret.Name).Bool("changed", changed).Msg("dynamic secret")
	case temporary:
		f.log.Warn().Err(err).Str("file", file.Path).Msg("a definition could not be stored; trying again")
	default:
		f.log.Error().Err(err).Str("file", file.Path).
			Msg("a definition that is not used; correct the file; the definition stored before stays in force")
	}
}

// isTemporary reports whether an error of a put is not an error of the definition.
func isTemporary(err error) bool {
	var e *messages.Error
	return err != nil && (!errors.As(err, &e) || e.Retryable || e.Code == messages.CodeSecretDeleting)
}

// release gives up the definitions whose file has been removed. A definition whose file
// may be one of those that can't be read is kept.
func (f *Folder) release(ctx context.Context, files []File) error {
	stored, err := f.secrets.NamesFrom(ctx, consumer.SourceFile)
	if err != nil {
		return fmt.Errorf("list the dynamic secrets: %w", err)
	}
	unread := slices.DeleteFunc(slices.Clone(files), func(s File) bool { return s.Secret.Name != "" })
	for _, name := range stored {
		if slices.ContainsFunc(files, func(s File) bool { return s.Secret.Name == name }) {
			delete(f.reported.unusable, name)
			continue
		}
		// Which secret an unreadable file defines is known only if it was readable before.
		from, known := f.from[name]
		if hasPath(unread, from) || !known && len(unread) > 0 {
			if !f.reported.unusable[name] {
				f.reported.unusable[name] = true
				f.log.Warn().Str("secret", name).Msg("a dynamic secret has no readable file; the stored definition stays in force")
			}
			continue
		}
		if err := f.secrets.Release(ctx, name); err != nil {
			return fmt.Errorf("release the dynamic secret %s: %w", name, err)
		}
		delete(f.from, name)
		delete(f.reported.unusable, name)
		f.log.Warn().Str("secret", name).Msg("the file of a dynamic secret was removed; the definition stays in force until it is deleted (lessor secret delete)")
	}
	return nil
}
