//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func TestPolicyOfAStoredSecret(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	definition := withKey(o.Principal("lessor", ""))
	o.put(definition)
	o.put(strings.Replace(withKey("AKIAQQQQQQQQQQQQQQQQ", "none-of-AWS"), "name: ci", "name: unknown", 1)) // an unknown key
	o.expect(cli.ExitFailed, "", "--account, or run: lessor secret check unknown\n", "policy", "unknown")
	o.expect(cli.ExitOK, "arn:aws:iam::210987654321:user/lessor/ci/*", "", "policy", "ci", "--account", "210987654321")
	o.OK(t, "secret", "check", "ci")
	for args, want := range map[string]string{
		"policy ci":                        "arn:aws:iam::123456789012:user/lessor/ci/*",
		"policy ci --account 210987654321": "arn:aws:iam::210987654321:user/lessor/ci/*",
		"policy ci --installation here":    `"here"`,
		// The broker knows which user's key it rotates.
		"policy ci --timeout 20s": `"arn:aws:iam::123456789012:user/lessor"`,
	} {
		stdout, stderr, code := o.Run(t.Context(), strings.Fields(args)...)
		if code != cli.ExitOK || stderr != "" || !strings.Contains(stdout, want) || !json.Valid([]byte(stdout)) {
			t.Errorf("lessor %s: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
	o.expect(cli.ExitFailed, "", "lessor secret list", "policy", "gone")
}

// TestPolicyIsEnough uses a broker whose permissions are those that the policy command
// prints. The command prints the same policy for a stored definition and for a file.
func TestPolicyIsEnough(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	const account, arn = "123456789012", "arn:aws:iam::123456789012:user/lessor"
	policy := o.OK(t, "policy", "--file", definitionFile(t, ownKey), "--account", account, "--principal", arn)
	file := definitionFile(t, withKey(o.Principal("lessor", policy)))
	o.expect(cli.ExitOK, "all allowed", "", "secret", "put", file)
	o.expect(cli.ExitOK, "ok", "", "secret", "check", "ci")
	here := o.Reply(t, "secret", "get", "ci").Secret.Installation
	filed := o.OK(t, "policy", "--file", file, "--account", account, "--principal", arn, "--installation", here)
	if stored := o.OK(t, "policy", "ci"); stored != filed || !strings.Contains(stored, here) {
		t.Errorf("by name it is\n%s\nwith --file it is\n%s", stored, filed)
	}
	lease := o.lease("ci").Lease.Name
	o.OK(t, "renew", lease, "--ttl", "2h")
	o.OK(t, "secret", "rotate-key", "ci")
	o.OK(t, "revoke", lease)
	o.lease("ci")
	o.OK(t, "secret", "delete", "ci")
	for _, c := range o.Sim.Calls() {
		if c.Code == "AccessDenied" {
			t.Errorf("%s is denied", c.Action)
		}
	}
}

// TestPolicyWithoutABroker uses only files and flags.
func TestPolicyWithoutABroker(t *testing.T) {
	t.Parallel()
	x := shell(map[string]string{"NATS_URL": "nats://127.0.0.1:1"})
	file := filepath.Join(t.TempDir(), "ci.yaml")
	definition := strings.Replace(ownKey, "region: eu-central-1", "region: cn-north-1", 1)
	definition = definition[:strings.Index(definition, "  auth:")] +
		"  auth: {method: assume_role, role_arn: 'arn:aws-cn:iam::123456789012:role/lessor', external_id: my-project}\n"
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, words := range map[string][]string{
		"policy --file " + file + " --account 123456789012":                                                                {"arn:aws-cn:iam::123456789012:user/lessor/ci/*", "iam:CreateUser"},
		"policy --trust assume-role --principal arn:aws:iam::123456789012:user/lessor":                                     {"sts:AssumeRole", "arn:aws:iam::123456789012:user/lessor"},
		"policy --trust assume-role --principal arn:aws:iam::123456789012:user/lessor --external-id xy":                    {"sts:ExternalId", `"xy"`},
		"policy --trust assume-role --principal arn:aws:iam::123456789012:user/lessor --file " + file:                      {"sts:ExternalId", `"my-project"`},
		"policy --trust irsa --account 123456789012 --oidc-provider oidc.example.com/id/1 --service-account lessor/broker": {"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1", "system:serviceaccount:lessor:broker"},
		"policy --trust irsa --account 123456789012 --oidc-provider oidc.example.com --service-account a/b --file " + file: {"arn:aws-cn:iam::123456789012:oidc-provider/oidc.example.com"},
		"policy --trust pod-identity":                                 {"pods.eks.amazonaws.com"},
		"policy --trust pod-identity --service-account lessor/broker": {"kubernetes-namespace", "broker"},
	} {
		out := x.OK(t, strings.Fields(args)...)
		var policy struct{ Version string }
		if err := json.Unmarshal([]byte(out), &policy); err != nil || policy.Version != "2012-10-17" || !strings.HasSuffix(out, "}\n") {
			t.Errorf("lessor %s: %v\n%s", args, err, out)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("lessor %s: no %s in\n%s", args, w, out)
			}
		}
	}
}

// TestPolicyCommandsOfTheGuide runs every policy command of docs/aws.md that needs no broker.
// It must print the block that follows the command.
func TestPolicyCommandsOfTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	session := filepath.Join(t.TempDir(), "deploy.yaml")
	definition := "name: deploy\naws: {credential_type: assume_role, role_arn: 'arn:aws:iam::123456789012:role/deploy', external_id: my-project}\n"
	if err := os.WriteFile(session, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(guide), "\\\n", "")
	command := regexp.MustCompile(`(?m)^lessor (policy --file .*?)(?: > \S+)?$`)
	found := command.FindAllStringSubmatchIndex(text, -1)
	if len(found) != 5 {
		t.Fatalf("there are %d commands", len(found))
	}
	x := shell(map[string]string{"NATS_URL": "nats://127.0.0.1:1"})
	for _, at := range found {
		line, behind := text[at[2]:at[3]], text[at[1]:]
		_, block, _ := strings.Cut(behind, "```json\n")
		block, _, _ = strings.Cut(block, "```")
		args := strings.Fields(line)
		for i, a := range args {
			switch {
			case a == "deploy.yaml":
				args[i] = session
			case strings.HasSuffix(a, "ci.yaml"):
				args[i] = "../../deploy/secrets/ci.yaml"
			}
		}
		if out := x.OK(t, args...); out != block {
			t.Errorf("lessor %s prints\n%s", line, out)
		}
	}
}
