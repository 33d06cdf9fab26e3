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

// FollowInterval is the wait between two looks at the folder of --secrets. It is looked
// at, and not watched: the kernel tells nothing of a change that another machine
// makes on NFS, and little that is of use of one in Kubernetes, which puts a link
// to another folder in place of the files. Names and contents show both.
const FollowInterval = 2 * time.Second

// fingerprint tells the contents of a folder from others.
type fingerprint [sha256.Size]byte

// Folder puts the definitions in a folder, and puts them again when they
// change.
type Folder struct {
	dir     string
	secrets *consumer.Secrets
	log     zerolog.Logger

	seen, put fingerprint       // at the last look, and when they were put
	again     bool              // not everything could be put, for reasons that pass
	from      map[string]string // secret to the path where it was defined last

	told reports
}

// reports are what was logged, so that it is not repeated while nothing changes.
type reports struct {
	trouble  string            // the kind of what keeps the whole from being put
	empty    bool              // that there are no definitions
	files    map[string]string // by path
	unusable map[string]bool   // secrets that may have a file, which can't be read
}

func newReports() reports { return reports{files: map[string]string{}, unusable: map[string]bool{}} }

func NewFolder(dir string, secrets *consumer.Secrets, log zerolog.Logger) *Folder {
	return &Folder{dir: dir, secrets: secrets, log: log, from: map[string]string{}, told: newReports()}
}

// Load puts all that is there, and reports what is wrong. The error is for the
// folder.
func (f *Folder) Load(ctx context.Context) error {
	files, err := ReadFolder(f.dir)
	if err != nil {
		return err
	}
	f.seen = fingerprintOf(files)
	if err := f.putAll(ctx, files); !isPassing(err) {
		return err
	} else if ctx.Err() == nil {
		f.trouble(err, "NATS") // follow tries again
	}
	return nil
}

// Follow looks at the folder whenever it is told to, until ctx ends. On a hangup
// everything is put and reported anew.
func (f *Folder) Follow(ctx context.Context, look <-chan time.Time, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
			f.Look(ctx, false)
		case <-hangups:
			f.log.Info().Str("folder", f.dir).Msg("reading the definitions again")
			f.told = newReports()
			f.Look(ctx, true)
		}
	}
}

// Look puts what has changed in the folder. Unless it is a person who says that
// now is the time, a change counts when two looks in a row see the same: somebody
// may be in the middle of writing.
func (f *Folder) Look(ctx context.Context, now bool) {
	bounded, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	files, err := ReadFolder(f.dir)
	if err != nil {
		f.seen = fingerprint{}
		f.trouble(err, err.Error())
		return
	}
	before := f.seen
	f.seen = fingerprintOf(files)
	if !f.again {
		f.told.trouble = "" // it was the folder
	}
	if !now && (f.seen != before || f.seen == f.put && !f.again) {
		return
	}
	if err = f.putAll(bounded, files); ctx.Err() == nil {
		f.trouble(err, "NATS")
	}
}

// trouble reports what keeps the whole from being put, or nil. Of trouble of one
// kind the first is reported: NATS has many words for not being there.
func (f *Folder) trouble(err error, kind string) {
	if err == nil {
		kind = ""
	}
	if kind != "" && kind != f.told.trouble {
		f.log.Error().Err(err).Str("folder", f.dir).Msg("the definitions can't be looked after; trying again; what is stored stays in force")
	}
	f.told.trouble = kind
}

// lookTimeout bounds one look.
const lookTimeout = 30 * time.Second

func fingerprintOf(files []File) fingerprint {
	h := sha256.New()
	for _, f := range files {
		_, _ = fmt.Fprintf(h, "%q %x\n", f.Path, f.sum) // a hash takes everything
	}
	return fingerprint(h.Sum(nil))
}

// putAll puts every definition; one that is wrong does not keep back the others.
// The error is for what has to be tried again as a whole.
func (f *Folder) putAll(ctx context.Context, files []File) error {
	f.put, f.again = fingerprintOf(files), false
	if len(files) == 0 && !f.told.empty {
		f.log.Warn().Str("folder", f.dir).Msg("there are no definitions (*.yaml, *.yml, *.json) in the folder")
	}
	f.told.empty = len(files) == 0
	for _, file := range files {
		f.putOne(ctx, file)
	}
	maps.DeleteFunc(f.told.files, func(path, _ string) bool { return !isAmong(files, path) })
	if err := f.release(ctx, files); err != nil {
		f.again = true
		return err
	}
	return nil
}

// isAmong says whether there is a file at path.
func isAmong(files []File, path string) bool {
	return slices.ContainsFunc(files, func(s File) bool { return s.Path == path })
}

func (f *Folder) putOne(ctx context.Context, file File) {
	changed, passing, err := false, false, file.Err
	if err == nil {
		f.from[file.Secret.Name] = file.Path
		changed, err = f.secrets.Put(ctx, file.Secret, consumer.SourceFile)
		passing = isPassing(err)
		f.again = f.again || passing
	}
	text := fmt.Sprintf("%x %v", file.sum, err)
	if passing { // as with trouble
		text = fmt.Sprintf("%x %s", file.sum, messages.AsError(err).Code)
	}
	if before, told := f.told.files[file.Path]; told && before == text && !changed {
		return
	}
	f.told.files[file.Path] = text
	switch {
	case err == nil:
		f.log.Info().Str("file", file.Path).Str("secret", file.Secret.Name).Bool("changed", changed).Msg("dynamic secret")
	case passing:
		f.log.Warn().Err(err).Str("file", file.Path).Msg("a definition could not be stored; trying again")
	default:
		f.log.Error().Err(err).Str("file", file.Path).
			Msg("a definition that is not used; mend the file; what was stored of it before stays in force")
	}
}

// isPassing says whether an error of a put is not the definition's.
func isPassing(err error) bool {
	var e *messages.Error
	return err != nil && (!errors.As(err, &e) || e.Retryable || e.Code == messages.CodeSecretDeleting)
}

// release lets go of the definitions whose file has gone. Those that may stand in
// a file that can't be read are reported.
func (f *Folder) release(ctx context.Context, files []File) error {
	stored, err := f.secrets.NamesFrom(ctx, consumer.SourceFile)
	if err != nil {
		return fmt.Errorf("list the dynamic secrets: %w", err)
	}
	unread := slices.DeleteFunc(slices.Clone(files), func(s File) bool { return s.Secret.Name != "" })
	for _, name := range stored {
		if slices.ContainsFunc(files, func(s File) bool { return s.Secret.Name == name }) {
			delete(f.told.unusable, name)
			continue
		}
		// What a file defines that can't be read is known only of those that could.
		from, known := f.from[name]
		if isAmong(unread, from) || !known && len(unread) > 0 {
			if !f.told.unusable[name] {
				f.told.unusable[name] = true
				f.log.Warn().Str("secret", name).Msg("a dynamic secret has no file that can be used; it stays in force as it is stored")
			}
			continue
		}
		if err := f.secrets.Release(ctx, name); err != nil {
			return fmt.Errorf("let go of the dynamic secret %s: %w", name, err)
		}
		delete(f.from, name)
		delete(f.told.unusable, name)
		f.log.Warn().Str("secret", name).Msg("a dynamic secret has no file any more; it stays in force until it is deleted (lessor secret delete)")
	}
	return nil
}
