package main

import (
	"context"
	"os"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// serveCmd is the command that runs a broker.
type serveCmd struct {
	cli.Connection
	embedded, durable      bool
	group                  bool
	store, listen, keyFile string
	secrets, health, level string
	projectID              string
	minTTL                 messages.Duration
	confirmWithin          time.Duration
	expiringBefore         messages.Duration
	workers, replicas      int
	restored               bool
	perMinute              int
	awsRate                float64
	sweepEvery             time.Duration
}

func newServeCmd(env *cli.Environment) *cobra.Command {
	var s serveCmd
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run a broker",
		GroupID: operators,
		Long: `Run a broker: it creates IAM users for leases, and deletes them when the leases end. Any
number of brokers can run on the same NATS account.

NATS is an account with JetStream on your servers, given as to the nats command, or a
server inside this process (--embedded). Missing streams and buckets are created.

The AWS credentials are those of the AWS SDK's environment: AWS_PROFILE,
AWS_ACCESS_KEY_ID, a role of the machine or pod. AWS_ENDPOINT_URL,
AWS_ENDPOINT_URL_IAM and AWS_ENDPOINT_URL_STS are used, except by the SDK for a role
with a web identity token; a definition's aws.auth.method irsa uses them.

Changes in the --secrets folder are put into force within seconds, and at once on
SIGHUP. A definition whose file was removed stays in force until it is deleted.`,
		Example: `  # on your NATS servers
  (umask 077; lessor key new > broker.key)
  lessor serve --server nats://nats.example.com --creds broker.creds --key-file broker.key --secrets ./secrets

  # with NATS in the same process
  lessor serve --embedded --store /var/lib/lessor --listen 127.0.0.1:4222 --secrets ./secrets`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(env); err != nil {
				return err
			}
			return s.run(cmd.Context(), env)
		},
	}
	s.Register(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.embedded, "embedded", false, "run a NATS server in this process; needs --store")
	f.StringVar(&s.store, "store", "", "`folder` of the embedded server's data and of the broker's key")
	f.StringVar(&s.listen, "listen", "", "`address` at which the embedded server accepts clients (default: none)")
	f.BoolVar(&s.durable, "durable", false, "make the embedded server flush every write to the disk")
	f.BoolVar(&s.group, "group-commit", false, "commit concurrent writes as one batch, for NATS servers that flush every write to the disk (sync_interval: always); --durable does so")
	f.StringVar(&s.keyFile, "key-file", "", "`file` with the broker's key (default with --embedded: one that is created in the store)")
	f.StringVar(&s.secrets, "secrets", "", "`folder` with one YAML file a dynamic secret; changes are put into force")
	f.StringVar(&s.projectID, "project-id", "", "external `id` for the roles that the broker assumes, unless the definition has one")
	f.Var(&s.minTTL, "min-ttl", "shortest lease")
	f.DurationVar(&s.confirmWithin, "confirm-within", 10*time.Second, "how long a requester may take to confirm a delivery, if it requested that")
	f.Var(&s.expiringBefore, "expiring-before", "emit the event expiring this long before a lease ends; 0s: never")
	f.IntVar(&s.perMinute, "max-requests-per-minute", 0, "leases of one secret that an identity may request in a minute, unless the secret has a limit; 0: no limit")
	f.IntVar(&s.workers, "workers", 128, "requests, and revocations, handled at the same time")
	f.Float64Var(&s.awsRate, "aws-rate", 0, "most calls a second to one AWS account; 0: as many as AWS accepts")
	f.DurationVar(&s.sweepEvery, "sweep-every", time.Hour, "how often AWS is searched for orphaned users")
	f.IntVar(&s.replicas, "replicas", 0, "replicas of the streams and buckets: 1, 3 or 5 (default: 1 for new ones; existing ones don't change)")
	f.BoolVar(&s.restored, "restored", false, "everything was restored from a backup: activate the restore guard until \"lessor restore --apply\"")
	f.StringVar(&s.health, "health", "", "`address` for /healthz, /readyz and /metrics (default: none)")
	f.StringVar(&s.level, "log-level", "info", "debug, info, warn or error")
	s.minTTL = messages.Duration(time.Minute)
	f.Lookup("min-ttl").DefValue = s.minTTL.String()
	return cmd
}

// check returns a usage error for flags that are wrong or contradict each other.
func (s *serveCmd) check(env *cli.Environment) error {
	switch {
	case s.embedded && s.store == "":
		return cli.Usagef("--embedded needs --store, a folder for its data")
	case s.embedded && (s.Server != "" || s.Context != ""):
		return cli.Usagef("--embedded and --server or --context exclude each other")
	case !s.embedded && (s.store != "" || s.listen != "" || s.durable):
		return cli.Usagef("--store, --listen and --durable go with --embedded")
	case !s.embedded && s.keyFile == "":
		return cli.Usagef(`--key-file is missing; make a key with "lessor key new > FILE"`)
	case s.workers < 1 || s.workers > 4096:
		return cli.Usagef("--workers is %d; it may be 1 to 4096", s.workers)
	case s.sweepEvery < time.Second:
		return cli.Usagef("--sweep-every is %s; it must be at least 1s", s.sweepEvery)
	case s.perMinute < 0 || s.perMinute > messages.MaxRate:
		return cli.Usagef("--max-requests-per-minute is %d; it may be 0 to %d", s.perMinute, messages.MaxRate)
	case s.awsRate < 0:
		return cli.Usagef("--aws-rate is %g; it may not be negative", s.awsRate)
	case s.confirmWithin < time.Second || s.confirmWithin > 10*time.Minute:
		return cli.Usagef("--confirm-within is %s; it may be 1s to 10m", s.confirmWithin)
	case s.minTTL < messages.MinSecretTTL:
		return cli.Usagef("--min-ttl is %s; it must be at least %s", s.minTTL, messages.MinSecretTTL)
	case s.replicas < 0 || s.replicas > 5 || s.replicas == 2 || s.replicas == 4:
		return cli.Usagef("--replicas is %d; it may be 1, 3 or 5", s.replicas)
	case s.embedded && s.replicas > 1:
		return cli.Usagef("--replicas is %d; an embedded server keeps one copy", s.replicas)
	case s.projectID != "" && !isExternalID(s.projectID):
		return cli.Usagef("--project-id may have 2 to %d letters, digits and _+=,.@:/-", maxExternalID)
	}
	if _, err := zerolog.ParseLevel(s.level); err != nil {
		return cli.Usagef("--log-level is %q; it may be debug, info, warn or error", s.level)
	}
	if s.secrets != "" {
		if info, err := os.Stat(s.secrets); err != nil || !info.IsDir() {
			return cli.Usagef("--secrets %s is not a readable folder; create it, or name another", s.secrets)
		}
	}
	if s.embedded {
		s.Server = "embedded" // so that NATS_URL is not used
	}
	return s.Connection.Check(env)
}

// maxExternalID is the longest external id
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
const maxExternalID = 1224

var externalIDGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)

// isExternalID reports whether AWS accepts an external id.
func isExternalID(id string) bool {
	return len(id) >= 2 && len(id) <= maxExternalID && externalIDGrammar.MatchString(id)
}

// run runs the broker until ctx ends.
func (s *serveCmd) run(ctx context.Context, env *cli.Environment) error {
	level, err := zerolog.ParseLevel(s.level)
	if err != nil {
		return err
	}
	ns, err := s.Namespace()
	if err != nil {
		return err
	}
	log := zerolog.New(env.Stderr).Level(level).With().Timestamp().Logger()
	o := broker.ServeOptions{
		Log: log, Version: cli.Version(), KeyFile: s.keyFile, Secrets: s.secrets, Health: s.health, AWSRate: s.awsRate,
		Config: consumer.Config{
			Namespace: ns, ExternalID: s.projectID,
			Timing: record.Timing{Confirm: s.confirmWithin, Expiring: s.expiringBefore.Std()},
			MinTTL: s.minTTL, Restored: s.restored,
			Sweep: consumer.Sweep{Every: s.sweepEvery}, MaxRequestsPerMinute: s.perMinute,
			Workers: consumer.Workers{Request: s.workers, Revoke: s.workers},
			Streams: consumer.Streams{Replicas: s.replicas, MinBatch: broker.GroupCommit(s.durable || s.group)},
		},
	}
	if s.embedded {
		o.Embedded = &embedded.Options{StoreDir: s.store, Listen: s.listen, Durable: s.durable, LockTimeout: 5 * time.Second}
	} else {
		o.Dial = func(options ...nats.Option) (*nats.Conn, error) { return s.Dial(env, "lessor broker", options...) }
	}
	return broker.Serve(ctx, o)
}
