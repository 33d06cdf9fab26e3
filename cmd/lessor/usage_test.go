package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// TestBadCommandLines has what TestRefusedBeforeConnecting does not: the commands
// of operators, and what shows only when it is tried.
func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.key"), filepath.Join(dir, "bad.key")
	key, _, code := terminal{}.run(t.Context(), "key", "new")
	if code != cli.ExitOK {
		t.Fatal("key new")
	}
	fine, wrong := filepath.Join(dir, "fine.yaml"), filepath.Join(dir, "wrong.yaml")
	for file, text := range map[string]string{
		good: key, bad: "a secret that is no key\n", fine: "name: ci\naws: {}\n",
		wrong: "name: ci\naws:\n  auth: {method: access_key, access_key_id: AKIA1, secret_access_key: a secret that is one}\n  pathh: /x/\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	embedded := "serve --embedded --store " + filepath.Join(dir, "never") + " "
	for args, want := range map[string]struct {
		code int
		says []string // what is wrong, and what to do next
	}{
		"request ci":                                {cli.ExitUsage, []string{"--identity", "name it with"}},
		"request ci -i alice --ttl soon":            {cli.ExitUsage, []string{"--ttl", "15m"}},
		"renew alice.ci.01 --ttl -1h":               {cli.ExitUsage, []string{"--ttl", "--help"}},
		"renew alice":                               {cli.ExitUsage, []string{"LEASE", "<identity>.<secret>.<id>"}},
		"revoke alice.ci.01.02":                     {cli.ExitUsage, []string{"LEASE", "<identity>.<secret>.<id>"}},
		"list":                                      {cli.ExitUsage, []string{"--identity", "name it with"}},
		"serve --embedded":                          {cli.ExitUsage, []string{"--embedded", "--store"}},
		"serve":                                     {cli.ExitUsage, []string{"--key-file", "lessor key new"}},
		"serve --store x --key-file " + good:        {cli.ExitUsage, []string{"--store", "--embedded"}},
		"serve --listen x --key-file " + good:       {cli.ExitUsage, []string{"--listen", "--embedded"}},
		"serve --durable --key-file " + good:        {cli.ExitUsage, []string{"--durable", "--embedded"}},
		embedded + "--server nats://localhost":      {cli.ExitUsage, []string{"--embedded", "--server", "exclude"}},
		embedded + "--context prod":                 {cli.ExitUsage, []string{"--embedded", "--context", "exclude"}},
		embedded + "--workers 0":                    {cli.ExitUsage, []string{"--workers", "1 to 4096"}},
		embedded + "--workers -1":                   {cli.ExitUsage, []string{"--workers", "1 to 4096"}},
		embedded + "--workers many":                 {cli.ExitUsage, []string{"--workers", "serve --help"}},
		embedded + "--aws-rate -1":                  {cli.ExitUsage, []string{"--aws-rate", "negative"}},
		embedded + "--sweep-every 1ms":              {cli.ExitUsage, []string{"--sweep-every", "at least 1s"}},
		embedded + "--confirm-within 1h":            {cli.ExitUsage, []string{"--confirm-within", "1s to 10m"}},
		embedded + "--min-ttl 1ms":                  {cli.ExitUsage, []string{"--min-ttl", "serve --help"}},
		embedded + "--replicas 2":                   {cli.ExitUsage, []string{"--replicas", "1, 3 or 5"}},
		embedded + "--log-level loud":               {cli.ExitUsage, []string{"--log-level", "debug, info, warn or error"}},
		embedded + "--log-level loud ci":            {cli.ExitUsage, []string{`"ci"`, "serve --help"}},
		embedded + "--listen here":                  {cli.ExitFailed, []string{"--listen", "127.0.0.1:4222"}},
		embedded + "--key-file " + bad:              {cli.ExitFailed, []string{bad}},
		embedded + "--nonsense":                     {cli.ExitUsage, []string{"--nonsense", "serve --help"}},
		"serve --key-file " + dir + "/no":           {cli.ExitFailed, []string{dir + "/no", "lessor key new"}},
		"serve --key-file " + bad:                   {cli.ExitFailed, []string{bad}},
		"list -i alice --server nats://127.0.0.1:1": {cli.ExitFailed, []string{"127.0.0.1:1", "--server"}},
		"list -i alice --context gone":              {cli.ExitFailed, []string{"gone", "nats context ls"}},
		"list -i alice --server nats://127.0.0.1:1 --creds " + dir + "/no": {cli.ExitFailed, []string{dir + "/no", "--creds"}},
		"events --server nats://127.0.0.1:1":                               {cli.ExitFailed, []string{"127.0.0.1:1", "--server"}},
		embedded + "--project-id x":                                        {cli.ExitUsage, []string{"--project-id", "2 to 1224"}},
		embedded + "--project-id my!project":                               {cli.ExitUsage, []string{"--project-id", "letters, digits"}},
		"secret old":                                                       {cli.ExitUsage, []string{`"old"`, "secret --help"}},
		"secret put":                                                       {cli.ExitUsage, []string{"FILE", "secret put --help"}},
		"secret put " + wrong:                                              {cli.ExitUsage, []string{wrong, "aws", "pathh"}},
		"secret put -":                                                     {cli.ExitUsage, []string{"the standard input", "must be", "object"}},
		"secret put " + dir + "/no":                                        {cli.ExitFailed, []string{dir + "/no", "standard input"}},
		"secret put " + fine + " --revision -1":                            {cli.ExitUsage, []string{"--revision", "secret put --help"}},
		"secret get":                                                       {cli.ExitUsage, []string{"NAME", "secret get --help"}},
		"secret get CI":                                                    {cli.ExitUsage, []string{"NAME", "a-z"}},
		"secret get ci --timeout 0s":                                       {cli.ExitUsage, []string{"--timeout", "above 0s"}},
		"secret list ci":                                                   {cli.ExitUsage, []string{`"ci"`, "secret list --help"}},
		"secret delete":                                                    {cli.ExitUsage, []string{"NAME", "secret delete --help"}},
		"secret delete a.b":                                                {cli.ExitUsage, []string{"NAME", "a-z"}},
		"secret check ci prod":                                             {cli.ExitUsage, []string{"NAME", "secret check --help"}},
		"secret check *":                                                   {cli.ExitUsage, []string{"NAME", "a-z"}},
		"secret rotate-key":                                                {cli.ExitUsage, []string{"NAME", "secret rotate-key --help"}},
		"secret list --server nats://127.0.0.1:1":                          {cli.ExitFailed, []string{"127.0.0.1:1", "--server"}},
		"policy":                    {cli.ExitUsage, []string{"NAME", "--file"}},
		"policy ci prod":            {cli.ExitUsage, []string{"NAME", "policy --help"}},
		"policy CI":                 {cli.ExitUsage, []string{"NAME", "a-z"}},
		"policy ci --file " + fine:  {cli.ExitUsage, []string{"NAME", "--file", "exclude"}},
		"policy ci --account 123":   {cli.ExitUsage, []string{"--account", "12 digits"}},
		"policy ci --external-id x": {cli.ExitUsage, []string{"--external-id", "without --trust"}},
		"policy --file " + fine:     {cli.ExitUsage, []string{"--file", "--account"}},
		"policy --file " + wrong + " --account 123456789012": {cli.ExitUsage, []string{wrong, "pathh"}},
		"policy --trust me":                                    {cli.ExitUsage, []string{"--trust", "assume-role, irsa, pod-identity or leased-role"}},
		"policy --trust irsa --principal x":                    {cli.ExitUsage, []string{"--principal", "--trust irsa"}},
		"policy --trust assume-role":                           {cli.ExitUsage, []string{"--principal", "arn:aws:iam::"}},
		"policy --trust irsa":                                  {cli.ExitUsage, []string{"--account", "12 digits"}},
		"policy --trust pod-identity --service-account broker": {cli.ExitUsage, []string{"--service-account", "namespace/name"}},
		"dev --log-level loud":                                 {cli.ExitUsage, []string{"--log-level", "debug, info, warn or error"}},
		"dev --listen here":                                    {cli.ExitFailed, []string{"--listen", "127.0.0.1:4222"}},
		"dev --listen 127.0.0.1:0 --iam-listen here":           {cli.ExitFailed, []string{"--iam-listen", "another address"}},
		"dev now":                            {cli.ExitUsage, []string{`"now"`, "dev --help"}},
		"demo now":                           {cli.ExitUsage, []string{`"now"`, "demo --help"}},
		"soak now":                           {cli.ExitUsage, []string{`"now"`, "soak --help"}},
		"soak --duration 1ms":                {cli.ExitUsage, []string{"--duration", "1s to 24h"}},
		"soak --duration long":               {cli.ExitUsage, []string{"--duration", "soak --help"}},
		"soak --clients 0":                   {cli.ExitUsage, []string{"--clients", "1 to 1000"}},
		"soak --seed -1":                     {cli.ExitUsage, []string{"--seed", "soak --help"}},
		"soak --keep " + dir:                 {cli.ExitUsage, []string{"--keep", dir, "another folder"}},
		"soak node --cluster here":           {cli.ExitUsage, []string{"--cluster", "host and a port"}},
		"soak aws --listen here --control -": {cli.ExitFailed, []string{"another address"}},
		"bench now":                          {cli.ExitUsage, []string{`"now"`, "bench --help"}},
		"bench --only speed":                 {cli.ExitUsage, []string{"--only", `"speed"`, "latency, throughput"}},
		"bench --requesters 0":               {cli.ExitUsage, []string{"--requesters", "1 to 10000"}},
		"bench --leases many":                {cli.ExitUsage, []string{"--leases", "bench --help"}},
		"bench --live -1":                    {cli.ExitUsage, []string{"--live", "1 to"}},
		"bench --due 0":                      {cli.ExitUsage, []string{"--due", "1 to"}},
		"bench --latency 1h":                 {cli.ExitUsage, []string{"--latency", "0s to 5s"}},
		"bench --within -1s":                 {cli.ExitUsage, []string{"--within", "negative"}},
		"bench --rate -1":                    {cli.ExitUsage, []string{"--rate", "negative"}},
		"bench --replicas 1":                 {cli.ExitUsage, []string{"--replicas", "2 to 16"}},
		"bench --nodes 2":                    {cli.ExitUsage, []string{"--nodes", "1, 3 or 5"}},
		"bench --iam-endpoint here":          {cli.ExitUsage, []string{"--iam-endpoint", "http://127.0.0.1:4599"}},
		"bench --iam-endpoint https://iam.amazonaws.com":     {cli.ExitUsage, []string{"iam.amazonaws.com", "--real-aws"}},
		"bench --iam-endpoint http://127.0.0.1:1 --rate 5":   {cli.ExitUsage, []string{"--rate", "--iam-endpoint"}},
		"bench --iam-endpoint http://127.0.0.1:1 --only due": {cli.ExitUsage, []string{`"due"`, "--iam-endpoint"}},
		"bench --server nats://127.0.0.1:1 --only restore":   {cli.ExitUsage, []string{`"restore"`, "--server"}},
		"bench --server nats://127.0.0.1:1 --durable":        {cli.ExitUsage, []string{"--durable", "--server"}},
		"bench --server nats://127.0.0.1:1 --identity A":     {cli.ExitUsage, []string{"--identity", "a-z"}},
		"bench --server nats://127.0.0.1:1":                  {cli.ExitFailed, []string{"latency", "127.0.0.1:1", "--server"}},
		"bench --profile " + good + "/x":                     {cli.ExitFailed, []string{"--profile", good}},
		"bench --svg pictures":                               {cli.ExitUsage, []string{"--svg", "add --only growth"}},
		"bench --only due --svg pictures":                    {cli.ExitUsage, []string{"--svg", "add --only growth"}},
		"bench --sizes 10,20":                                {cli.ExitUsage, []string{"--sizes", "add --only growth"}},
		"bench --only growth --sizes 0,10":                   {cli.ExitUsage, []string{"--sizes", "has 0;", "1 to 5000000"}},
		"bench --only growth --sizes 5000001":                {cli.ExitUsage, []string{"--sizes", "has 5000001;", "1 to 5000000"}},
		"bench --only growth --sizes 20,10":                  {cli.ExitUsage, []string{"--sizes", "10 after 20", "more than"}},
		"bench --only growth --sizes 10,10":                  {cli.ExitUsage, []string{"--sizes", "10 after 10", "more than"}},
		"bench --only growth --sizes few":                    {cli.ExitUsage, []string{"--sizes", "few", "bench --help"}},
		"bench --only growth --svg " + good + "/x":           {cli.ExitFailed, []string{"--svg", good}},
		"bench --server nats://127.0.0.1:1 --only growth":    {cli.ExitUsage, []string{`"growth"`, "--server"}},
		"demo --nonsense":                                    {cli.ExitUsage, []string{"--nonsense", "demo --help"}},
		"key old":                                            {cli.ExitUsage, []string{`"old"`, "key --help"}},
		"nats-config":                                        {cli.ExitUsage, []string{"FILE", "nats-config --help"}},
		"nats-config " + bad:                                 {cli.ExitUsage, []string{bad}},
		"nats-config " + dir + "/no":                         {cli.ExitFailed, []string{dir + "/no"}},
		"key new more":                                       {cli.ExitUsage, []string{`"more"`, "key new --help"}},
		"leases":                                             {cli.ExitUsage, []string{`"leases"`, "lessor --help"}},
		"--nonsense":                                         {cli.ExitUsage, []string{"--nonsense", "lessor --help"}},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := terminal{}.run(t.Context(), strings.Fields(args)...)
			if code != want.code || stdout != "" {
				t.Errorf("exit code %d, not %d; %s%s", code, want.code, stdout, stderr)
			}
			said := strings.TrimSuffix(stderr, "\n")
			if want.code == cli.ExitFailed { // before it comes what the broker may have logged
				said = said[strings.LastIndex(said, "\n")+1:]
			}
			if !strings.HasPrefix(said, "lessor: ") || strings.Contains(said, "\n") || strings.Count(stderr, "lessor: ") != 1 {
				t.Errorf("it is not said in one line: %q", stderr)
			}
			for _, words := range want.says {
				if !strings.Contains(said, words) {
					t.Errorf("it does not say %q: %s", words, said)
				}
			}
			if strings.Contains(stderr, "a secret that") {
				t.Errorf("it shows the key file: %s", stderr)
			}
		})
	}
}

// commands are all that lessor has, behind their names.
func commands(c *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	for _, sub := range c.Commands() {
		all[sub.CommandPath()] = sub
		for name, c := range commands(sub) {
			all[name] = c
		}
	}
	return all
}

// example is a call of lessor in a shell or a configuration: its words up to
// where the shell goes on.
var example = regexp.MustCompile(`\blessor ((?:"[^"]*"|[^\s"|;>)]+)(?: +(?:"[^"]*"|[^\s"|;>)]+))*)`)

// word is one of an example's.
var word = regexp.MustCompile(`"[^"]*"|\S+`)

// TestHelpHasExamples makes sure that every command's help has an example, and
// that the commands and flags in it exist.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	all := commands(newRootCmd(cli.System("lessor")))
	if len(all) < 19 {
		t.Errorf("only %d commands are found", len(all))
	}
	for name, c := range all {
		stdout, stderr, code := terminal{}.run(t.Context(), append(strings.Fields(name)[1:], "--help")...)
		if code != cli.ExitOK || stderr != "" || !strings.Contains(stdout, c.Short) && !strings.Contains(stdout, c.Long) {
			t.Errorf("%s --help: exit code %d, %s", name, code, stderr)
		}
		if c.HasSubCommands() {
			continue // their helps have them
		}
		if !strings.Contains(stdout, "Examples:\n") {
			t.Errorf("%s --help has no example", name)
		}
		calls := example.FindAllStringSubmatch(c.Example, -1)
		own := false
		for _, call := range calls {
			words := word.FindAllString(call[1], -1)
			target, rest, err := newRootCmd(cli.System("lessor")).Find(words)
			if err == nil {
				err = target.ParseFlags(rest)
			}
			if err == nil && target.Args != nil {
				err = target.Args(target, target.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: the example %q: %v", name, call[0], err)
				continue
			}
			own = own || target.CommandPath() == name
		}
		if !own {
			t.Errorf("%s: no example is of this command: %q", name, calls)
		}
	}
}
