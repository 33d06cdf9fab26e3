package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

// TestWrongCommandLines has the commands of operators, and errors that show only when the
// command runs. See also TestWrongFlagsAreRefusedBeforeConnecting.
func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.key"), filepath.Join(dir, "bad.key")
	key, _, code := shell(nil).Run(t.Context(), "key", "new")
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
	clitest.CheckRefused(t, shell(nil), "a secret that", map[string]clitest.Refusal{
		"request ci":                                {Code: cli.ExitUsage, Says: []string{"--identity", "name it with"}},
		"request ci -i alice --ttl soon":            {Code: cli.ExitUsage, Says: []string{"--ttl", "15m"}},
		"renew alice.ci.01 --ttl -1h":               {Code: cli.ExitUsage, Says: []string{"--ttl", "--help"}},
		"renew alice":                               {Code: cli.ExitUsage, Says: []string{"LEASE", "<identity>.<secret>.<id>"}},
		"revoke alice.ci.01.02":                     {Code: cli.ExitUsage, Says: []string{"LEASE", "<identity>.<secret>.<id>"}},
		"list":                                      {Code: cli.ExitUsage, Says: []string{"--identity", "name it with"}},
		"serve --embedded":                          {Code: cli.ExitUsage, Says: []string{"--embedded", "--store"}},
		"serve":                                     {Code: cli.ExitUsage, Says: []string{"--key-file", "lessor key new"}},
		"serve --store x --key-file " + good:        {Code: cli.ExitUsage, Says: []string{"--store", "--embedded"}},
		"serve --listen x --key-file " + good:       {Code: cli.ExitUsage, Says: []string{"--listen", "--embedded"}},
		"serve --durable --key-file " + good:        {Code: cli.ExitUsage, Says: []string{"--durable", "--embedded"}},
		embedded + "--server nats://localhost":      {Code: cli.ExitUsage, Says: []string{"--embedded", "--server", "exclude"}},
		embedded + "--context prod":                 {Code: cli.ExitUsage, Says: []string{"--embedded", "--context", "exclude"}},
		embedded + "--workers 0":                    {Code: cli.ExitUsage, Says: []string{"--workers", "1 to 4096"}},
		embedded + "--workers -1":                   {Code: cli.ExitUsage, Says: []string{"--workers", "1 to 4096"}},
		embedded + "--workers many":                 {Code: cli.ExitUsage, Says: []string{"--workers", "serve --help"}},
		embedded + "--aws-rate -1":                  {Code: cli.ExitUsage, Says: []string{"--aws-rate", "negative"}},
		embedded + "--sweep-every 1ms":              {Code: cli.ExitUsage, Says: []string{"--sweep-every", "at least 1s"}},
		embedded + "--confirm-within 1h":            {Code: cli.ExitUsage, Says: []string{"--confirm-within", "1s to 10m"}},
		embedded + "--min-ttl 1ms":                  {Code: cli.ExitUsage, Says: []string{"--min-ttl", "serve --help"}},
		embedded + "--replicas 2":                   {Code: cli.ExitUsage, Says: []string{"--replicas", "1, 3 or 5"}},
		embedded + "--log-level loud":               {Code: cli.ExitUsage, Says: []string{"--log-level", "debug, info, warn or error"}},
		embedded + "--log-level loud ci":            {Code: cli.ExitUsage, Says: []string{`"ci"`, "serve --help"}},
		embedded + "--listen here":                  {Code: cli.ExitFailed, Says: []string{"--listen", "127.0.0.1:4222"}},
		embedded + "--key-file " + bad:              {Code: cli.ExitFailed, Says: []string{bad}},
		embedded + "--nonsense":                     {Code: cli.ExitUsage, Says: []string{"--nonsense", "serve --help"}},
		"serve --key-file " + dir + "/no":           {Code: cli.ExitFailed, Says: []string{dir + "/no", "lessor key new"}},
		"serve --key-file " + bad:                   {Code: cli.ExitFailed, Says: []string{bad}},
		"list -i alice --server nats://127.0.0.1:1": {Code: cli.ExitFailed, Says: []string{"127.0.0.1:1", "--server"}},
		"list -i alice --context gone":              {Code: cli.ExitFailed, Says: []string{"gone", "nats context ls"}},
		"list -i alice --server nats://127.0.0.1:1 --creds " + dir + "/no": {Code: cli.ExitFailed, Says: []string{dir + "/no", "--creds"}},
		"events --server nats://127.0.0.1:1":                               {Code: cli.ExitFailed, Says: []string{"127.0.0.1:1", "--server"}},
		embedded + "--project-id x":                                        {Code: cli.ExitUsage, Says: []string{"--project-id", "2 to 1224"}},
		embedded + "--project-id my!project":                               {Code: cli.ExitUsage, Says: []string{"--project-id", "letters, digits"}},
		"secret old":                                                       {Code: cli.ExitUsage, Says: []string{`"old"`, "secret --help"}},
		"secret put":                                                       {Code: cli.ExitUsage, Says: []string{"FILE", "secret put --help"}},
		"secret put " + wrong:                                              {Code: cli.ExitUsage, Says: []string{wrong, "aws", "pathh"}},
		"secret put -":                                                     {Code: cli.ExitUsage, Says: []string{"the standard input", "must be", "object"}},
		"secret put " + dir + "/no":                                        {Code: cli.ExitFailed, Says: []string{dir + "/no", "standard input"}},
		"secret put " + fine + " --revision -1":                            {Code: cli.ExitUsage, Says: []string{"--revision", "secret put --help"}},
		"secret get":                                                       {Code: cli.ExitUsage, Says: []string{"NAME", "secret get --help"}},
		"secret get CI":                                                    {Code: cli.ExitUsage, Says: []string{"NAME", "a-z"}},
		"secret get ci --timeout 0s":                                       {Code: cli.ExitUsage, Says: []string{"--timeout", "above 0s"}},
		"secret list ci":                                                   {Code: cli.ExitUsage, Says: []string{`"ci"`, "secret list --help"}},
		"secret delete":                                                    {Code: cli.ExitUsage, Says: []string{"NAME", "secret delete --help"}},
		"secret delete a.b":                                                {Code: cli.ExitUsage, Says: []string{"NAME", "a-z"}},
		"secret check ci prod":                                             {Code: cli.ExitUsage, Says: []string{"NAME", "secret check --help"}},
		"secret check *":                                                   {Code: cli.ExitUsage, Says: []string{"NAME", "a-z"}},
		"secret rotate-key":                                                {Code: cli.ExitUsage, Says: []string{"NAME", "secret rotate-key --help"}},
		"secret list --server nats://127.0.0.1:1":                          {Code: cli.ExitFailed, Says: []string{"127.0.0.1:1", "--server"}},
		"policy":                    {Code: cli.ExitUsage, Says: []string{"NAME", "--file"}},
		"policy ci prod":            {Code: cli.ExitUsage, Says: []string{"NAME", "policy --help"}},
		"policy CI":                 {Code: cli.ExitUsage, Says: []string{"NAME", "a-z"}},
		"policy ci --file " + fine:  {Code: cli.ExitUsage, Says: []string{"NAME", "--file", "exclude"}},
		"policy ci --account 123":   {Code: cli.ExitUsage, Says: []string{"--account", "12 digits"}},
		"policy ci --external-id x": {Code: cli.ExitUsage, Says: []string{"--external-id", "without --trust"}},
		"policy --file " + fine:     {Code: cli.ExitUsage, Says: []string{"--file", "--account"}},
		"policy --file " + wrong + " --account 123456789012": {Code: cli.ExitUsage, Says: []string{wrong, "pathh"}},
		"policy --trust me":                                    {Code: cli.ExitUsage, Says: []string{"--trust", "assume-role, irsa, pod-identity or leased-role"}},
		"policy --trust irsa --principal x":                    {Code: cli.ExitUsage, Says: []string{"--principal", "--trust irsa"}},
		"policy --trust assume-role":                           {Code: cli.ExitUsage, Says: []string{"--principal", "arn:aws:iam::"}},
		"policy --trust irsa":                                  {Code: cli.ExitUsage, Says: []string{"--account", "12 digits"}},
		"policy --trust pod-identity --service-account broker": {Code: cli.ExitUsage, Says: []string{"--service-account", "namespace/name"}},
		"dev --log-level loud":                                 {Code: cli.ExitUsage, Says: []string{"--log-level", "debug, info, warn or error"}},
		"dev --listen here":                                    {Code: cli.ExitFailed, Says: []string{"--listen", "127.0.0.1:4222"}},
		"dev --listen 127.0.0.1:0 --iam-listen here":           {Code: cli.ExitFailed, Says: []string{"--iam-listen", "another address"}},
		"dev now":                    {Code: cli.ExitUsage, Says: []string{`"now"`, "dev --help"}},
		"demo now":                   {Code: cli.ExitUsage, Says: []string{`"now"`, "demo --help"}},
		"demo --nonsense":            {Code: cli.ExitUsage, Says: []string{"--nonsense", "demo --help"}},
		"key old":                    {Code: cli.ExitUsage, Says: []string{`"old"`, "key --help"}},
		"nats-config":                {Code: cli.ExitUsage, Says: []string{"FILE", "nats-config --help"}},
		"nats-config " + bad:         {Code: cli.ExitUsage, Says: []string{bad}},
		"nats-config " + dir + "/no": {Code: cli.ExitFailed, Says: []string{dir + "/no"}},
		"key new more":               {Code: cli.ExitUsage, Says: []string{`"more"`, "key new --help"}},
		"leases":                     {Code: cli.ExitUsage, Says: []string{`"leases"`, "lessor --help"}},
		"--nonsense":                 {Code: cli.ExitUsage, Says: []string{"--nonsense", "lessor --help"}},
	})
}

// TestHelpHasExamples checks the help of every command, and the examples in it.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	if n := clitest.CheckExamples(t, shell(nil)); n < 19 {
		t.Errorf("only %d commands are found", n)
	}
}
