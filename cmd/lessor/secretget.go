package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretGetCmd(env *cli.Environment) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a dynamic secret",
		Long: `Show a dynamic secret: its definition in YAML, which can be edited and put again, after
comments with its state. A secret access key is never shown.`,
		Example: `  lessor secret get ci > ci.yaml
  lessor secret get ci --json | jq .secret.revision`,
		Args: cli.Argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkNamed(env, args[0]); err != nil {
				return err
			}
			s, err := o.secret(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			return o.printSecret(env, s)
		},
	}
	o.register(cmd)
	return cmd
}

// secret requests a dynamic secret from the broker.
func (o *operator) secret(ctx context.Context, env *cli.Environment, name string) (messages.SecretInfo, error) {
	return fetch(ctx, o, env, "", func(ctx context.Context, a *client.Admin) (messages.SecretInfo, error) {
		return a.Secret(ctx, name)
	})
}

// printSecret prints a dynamic secret as YAML or as JSON.
func (o *operator) printSecret(env *cli.Environment, s messages.SecretInfo) error {
	s.Definition.AWS.Auth.SecretAccessKey = messages.Sensitive{} // the broker sends none; a mask could be put as a key
	if o.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindSecret, Secret: &s})
	}
	definition, err := json.Marshal(s.Definition)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, line := range details(env, s) {
		b.WriteString("# " + cli.OneLine(line) + "\n")
	}
	if err := writeYAML(&b, definition, ""); err != nil {
		return fmt.Errorf("write the definition as YAML: %w", err)
	}
	_, err = env.Stdout.Write(b.Bytes())
	return err
}

// details returns what is known of a dynamic secret besides its definition.
func details(env *cli.Environment, s messages.SecretInfo) []string {
	var lines []string
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, name+": "+value)
		}
	}
	add("revision", fmt.Sprint(s.Revision))
	add("state", string(s.State))
	from := source(s)
	if s.Source == consumer.SourceFile {
		from += ", and is changed there"
	}
	add("source", from)
	add("connection", s.Connection.Name)
	add("account", s.Connection.Account)
	add("arn", s.Connection.ARN)
	if s.Definition.AWS.Auth.Method == messages.AuthAccessKey {
		add("access key id in use", s.Connection.AccessKeyID)
		add("rotated", cli.Until(s.Connection.RotatedAt, env.Now()))
		lines = append(lines, "the secret access key is set and never shown")
	}
	for _, n := range s.Notes {
		add("note", n)
	}
	return lines
}

// writeYAML writes a JSON object as YAML and keeps the order of its fields, so that a
// definition begins with its name. The YAML library would sort them.
func writeYAML(w io.Writer, object []byte, indent string) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		name, _ := key.(string) // keys are strings in JSON
		if err := writeField(w, name, value, indent); err != nil {
			return err
		}
	}
	return nil
}

// writeField writes one field of an object.
func writeField(w io.Writer, name string, value json.RawMessage, indent string) error {
	nested := bytes.HasPrefix(value, []byte("{")) && !bytes.Equal(value, []byte("{}"))
	whole := map[string]json.RawMessage{name: value}
	if nested {
		whole[name] = json.RawMessage("null") // only the key is written here; the fields follow
	}
	field, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	lines, err := yaml.JSONToYAML(field)
	if err != nil {
		return err
	}
	text := string(lines)
	if nested {
		text = strings.TrimSuffix(text, " null\n") + "\n"
	}
	for line := range strings.Lines(text) {
		if line != "\n" {
			line = indent + line
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	if nested {
		return writeYAML(w, value, indent+"  ")
	}
	return nil
}
