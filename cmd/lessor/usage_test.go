package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestBadCommandLines has what TestRefusedBeforeConnecting does not: the commands
// of operators, and what shows only when it is tried.
func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.key"), filepath.Join(dir, "bad.key")
	key, _, code := terminal{}.run(t.Context(), "key", "new")
	if code != exitOK {
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
		"request ci":                                {exitUsage, []string{"--identity", "name it with"}},
		"request ci -i alice --ttl soon":            {exitUsage, []string{"--ttl", "15m"}},
		"renew alice.ci.01 --ttl -1h":               {exitUsage, []string{"--ttl", "--help"}},
		"renew alice":                               {exitUsage, []string{"LEASE", "<identity>.<secret>.<id>"}},
		"revoke alice.ci.01.02":                     {exitUsage, []string{"LEASE", "<identity>.<secret>.<id>"}},
		"list":                                      {exitUsage, []string{"--identity", "name it with"}},
		"serve --embedded":                          {exitUsage, []string{"--embedded", "--store"}},
		"serve":                                     {exitUsage, []string{"--key-file", "lessor key new"}},
		"serve --store x --key-file " + good:        {exitUsage, []string{"--store", "--embedded"}},
		"serve --listen x --key-file " + good:       {exitUsage, []string{"--listen", "--embedded"}},
		"serve --durable --key-file " + good:        {exitUsage, []string{"--durable", "--embedded"}},
		embedded + "--server nats://localhost":      {exitUsage, []string{"--embedded", "--server", "exclude"}},
		embedded + "--context prod":                 {exitUsage, []string{"--embedded", "--context", "exclude"}},
		embedded + "--workers 0":                    {exitUsage, []string{"--workers", "1 to 4096"}},
		embedded + "--workers -1":                   {exitUsage, []string{"--workers", "1 to 4096"}},
		embedded + "--workers many":                 {exitUsage, []string{"--workers", "serve --help"}},
		embedded + "--aws-rate -1":                  {exitUsage, []string{"--aws-rate", "negative"}},
		embedded + "--sweep-every 1ms":              {exitUsage, []string{"--sweep-every", "at least 1s"}},
		embedded + "--confirm-within 1h":            {exitUsage, []string{"--confirm-within", "1s to 10m"}},
		embedded + "--min-ttl 1ms":                  {exitUsage, []string{"--min-ttl", "serve --help"}},
		embedded + "--replicas 2":                   {exitUsage, []string{"--replicas", "1, 3 or 5"}},
		embedded + "--log-level loud":               {exitUsage, []string{"--log-level", "debug, info, warn or error"}},
		embedded + "--log-level loud ci":            {exitUsage, []string{`"ci"`, "serve --help"}},
		embedded + "--listen here":                  {exitFailed, []string{"--listen", "127.0.0.1:4222"}},
		embedded + "--key-file " + bad:              {exitFailed, []string{bad}},
		embedded + "--nonsense":                     {exitUsage, []string{"--nonsense", "serve --help"}},
		"serve --key-file " + dir + "/no":           {exitFailed, []string{dir + "/no", "lessor key new"}},
		"serve --key-file " + bad:                   {exitFailed, []string{bad}},
		"list -i alice --server nats://127.0.0.1:1": {exitFailed, []string{"127.0.0.1:1", "--server"}},
		"list -i alice --context gone":              {exitFailed, []string{"gone", "nats context ls"}},
		"list -i alice --server nats://127.0.0.1:1 --creds " + dir + "/no": {exitFailed, []string{dir + "/no", "--creds"}},
		"events --server nats://127.0.0.1:1":                               {exitFailed, []string{"127.0.0.1:1", "--server"}},
		embedded + "--project-id x":                                        {exitUsage, []string{"--project-id", "2 to 1224"}},
		embedded + "--project-id my!project":                               {exitUsage, []string{"--project-id", "letters, digits"}},
		"secret old":                                                       {exitUsage, []string{`"old"`, "secret --help"}},
		"secret put":                                                       {exitUsage, []string{"FILE", "secret put --help"}},
		"secret put " + wrong:                                              {exitUsage, []string{wrong, "aws", "pathh"}},
		"secret put -":                                                     {exitUsage, []string{"the standard input", "must be", "object"}},
		"secret put " + dir + "/no":                                        {exitFailed, []string{dir + "/no", "standard input"}},
		"secret put " + fine + " --revision -1":                            {exitUsage, []string{"--revision", "secret put --help"}},
		"secret get":                                                       {exitUsage, []string{"NAME", "secret get --help"}},
		"secret get CI":                                                    {exitUsage, []string{"NAME", "a-z"}},
		"secret get ci --timeout 0s":                                       {exitUsage, []string{"--timeout", "above 0s"}},
		"secret list ci":                                                   {exitUsage, []string{`"ci"`, "secret list --help"}},
		"secret delete":                                                    {exitUsage, []string{"NAME", "secret delete --help"}},
		"secret delete a.b":                                                {exitUsage, []string{"NAME", "a-z"}},
		"secret check ci prod":                                             {exitUsage, []string{"NAME", "secret check --help"}},
		"secret check *":                                                   {exitUsage, []string{"NAME", "a-z"}},
		"secret rotate-key":                                                {exitUsage, []string{"NAME", "secret rotate-key --help"}},
		"secret list --server nats://127.0.0.1:1":                          {exitFailed, []string{"127.0.0.1:1", "--server"}},
		"policy":                    {exitUsage, []string{"NAME", "--file"}},
		"policy ci prod":            {exitUsage, []string{"NAME", "policy --help"}},
		"policy CI":                 {exitUsage, []string{"NAME", "a-z"}},
		"policy ci --file " + fine:  {exitUsage, []string{"NAME", "--file", "exclude"}},
		"policy ci --account 123":   {exitUsage, []string{"--account", "12 digits"}},
		"policy ci --external-id x": {exitUsage, []string{"--external-id", "without --trust"}},
		"policy --file " + fine:     {exitUsage, []string{"--file", "--account"}},
		"policy --file " + wrong + " --account 123456789012": {exitUsage, []string{wrong, "pathh"}},
		"policy --trust me":                                    {exitUsage, []string{"--trust", "assume-role, irsa, pod-identity or leased-role"}},
		"policy --trust irsa --principal x":                    {exitUsage, []string{"--principal", "--trust irsa"}},
		"policy --trust assume-role":                           {exitUsage, []string{"--principal", "arn:aws:iam::"}},
		"policy --trust irsa":                                  {exitUsage, []string{"--account", "12 digits"}},
		"policy --trust pod-identity --service-account broker": {exitUsage, []string{"--service-account", "namespace/name"}},
		"dev --log-level loud":                                 {exitUsage, []string{"--log-level", "debug, info, warn or error"}},
		"dev --listen here":                                    {exitFailed, []string{"--listen", "127.0.0.1:4222"}},
		"dev --listen 127.0.0.1:0 --iam-listen here":           {exitFailed, []string{"--iam-listen", "another address"}},
		"dev now":                            {exitUsage, []string{`"now"`, "dev --help"}},
		"demo now":                           {exitUsage, []string{`"now"`, "demo --help"}},
		"soak now":                           {exitUsage, []string{`"now"`, "soak --help"}},
		"soak --duration 1ms":                {exitUsage, []string{"--duration", "1s to 24h"}},
		"soak --duration long":               {exitUsage, []string{"--duration", "soak --help"}},
		"soak --clients 0":                   {exitUsage, []string{"--clients", "1 to 1000"}},
		"soak --seed -1":                     {exitUsage, []string{"--seed", "soak --help"}},
		"soak --keep " + dir:                 {exitUsage, []string{"--keep", dir, "another folder"}},
		"soak node --cluster here":           {exitUsage, []string{"--cluster", "host and a port"}},
		"soak aws --listen here --control -": {exitFailed, []string{"another address"}},
		"bench now":                          {exitUsage, []string{`"now"`, "bench --help"}},
		"bench --only speed":                 {exitUsage, []string{"--only", `"speed"`, "latency, throughput"}},
		"bench --requesters 0":               {exitUsage, []string{"--requesters", "1 to 10000"}},
		"bench --leases many":                {exitUsage, []string{"--leases", "bench --help"}},
		"bench --live -1":                    {exitUsage, []string{"--live", "1 to"}},
		"bench --due 0":                      {exitUsage, []string{"--due", "1 to"}},
		"bench --latency 1h":                 {exitUsage, []string{"--latency", "0s to 5s"}},
		"bench --within -1s":                 {exitUsage, []string{"--within", "negative"}},
		"bench --rate -1":                    {exitUsage, []string{"--rate", "negative"}},
		"bench --replicas 1":                 {exitUsage, []string{"--replicas", "2 to 16"}},
		"bench --nodes 2":                    {exitUsage, []string{"--nodes", "1, 3 or 5"}},
		"bench --iam-endpoint here":          {exitUsage, []string{"--iam-endpoint", "http://127.0.0.1:4599"}},
		"bench --iam-endpoint https://iam.amazonaws.com":     {exitUsage, []string{"iam.amazonaws.com", "--real-aws"}},
		"bench --iam-endpoint http://127.0.0.1:1 --rate 5":   {exitUsage, []string{"--rate", "--iam-endpoint"}},
		"bench --iam-endpoint http://127.0.0.1:1 --only due": {exitUsage, []string{`"due"`, "--iam-endpoint"}},
		"bench --server nats://127.0.0.1:1 --only restore":   {exitUsage, []string{`"restore"`, "--server"}},
		"bench --server nats://127.0.0.1:1 --durable":        {exitUsage, []string{"--durable", "--server"}},
		"bench --server nats://127.0.0.1:1 --identity A":     {exitUsage, []string{"--identity", "a-z"}},
		"bench --server nats://127.0.0.1:1":                  {exitFailed, []string{"latency", "127.0.0.1:1", "--server"}},
		"bench --profile " + good + "/x":                     {exitFailed, []string{"--profile", good}},
		"bench --svg pictures":                               {exitUsage, []string{"--svg", "add --only growth"}},
		"bench --only due --svg pictures":                    {exitUsage, []string{"--svg", "add --only growth"}},
		"bench --sizes 10,20":                                {exitUsage, []string{"--sizes", "add --only growth"}},
		"bench --only growth --sizes 0,10":                   {exitUsage, []string{"--sizes", "has 0;", "1 to 5000000"}},
		"bench --only growth --sizes 5000001":                {exitUsage, []string{"--sizes", "has 5000001;", "1 to 5000000"}},
		"bench --only growth --sizes 20,10":                  {exitUsage, []string{"--sizes", "10 after 20", "more than"}},
		"bench --only growth --sizes 10,10":                  {exitUsage, []string{"--sizes", "10 after 10", "more than"}},
		"bench --only growth --sizes few":                    {exitUsage, []string{"--sizes", "few", "bench --help"}},
		"bench --only growth --svg " + good + "/x":           {exitFailed, []string{"--svg", good}},
		"bench --server nats://127.0.0.1:1 --only growth":    {exitUsage, []string{`"growth"`, "--server"}},
		"demo --nonsense":                                    {exitUsage, []string{"--nonsense", "demo --help"}},
		"key old":                                            {exitUsage, []string{`"old"`, "key --help"}},
		"nats-config":                                        {exitUsage, []string{"FILE", "nats-config --help"}},
		"nats-config " + bad:                                 {exitUsage, []string{bad}},
		"nats-config " + dir + "/no":                         {exitFailed, []string{dir + "/no"}},
		"key new more":                                       {exitUsage, []string{`"more"`, "key new --help"}},
		"leases":                                             {exitUsage, []string{`"leases"`, "lessor --help"}},
		"--nonsense":                                         {exitUsage, []string{"--nonsense", "lessor --help"}},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := terminal{}.run(t.Context(), strings.Fields(args)...)
			if code != want.code || stdout != "" {
				t.Errorf("exit code %d, not %d; %s%s", code, want.code, stdout, stderr)
			}
			said := strings.TrimSuffix(stderr, "\n")
			if want.code == exitFailed { // before it comes what the broker may have logged
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
	all := commands(newRootCmd(systemEnvironment()))
	if len(all) < 19 {
		t.Errorf("only %d commands are found", len(all))
	}
	for name, c := range all {
		stdout, stderr, code := terminal{}.run(t.Context(), append(strings.Fields(name)[1:], "--help")...)
		if code != exitOK || stderr != "" || !strings.Contains(stdout, c.Short) && !strings.Contains(stdout, c.Long) {
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
			target, rest, err := newRootCmd(systemEnvironment()).Find(words)
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
