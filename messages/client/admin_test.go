package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newAdmin(t *testing.T, nc *nats.Conn, o client.AdminOptions) *client.Admin {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	a, err := client.NewAdmin(nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// keyed returns a definition with a secret key.
func keyed() messages.DynamicSecret {
	d := messages.DynamicSecret{Name: "ci"}
	d.AWS.Auth = messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: messages.NewSensitive("s3cret")}
	return d.WithDefaults()
}

func secretInfo() *messages.SecretInfo {
	d := keyed()
	d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	return &messages.SecretInfo{Name: "ci", Revision: 7, State: messages.SecretActive, Definition: d, Connection: messages.Connection{Name: "c", Account: "123456789012"}}
}

func TestAdminCalls(t *testing.T) {
	f, s := newFake(t, nil)
	f.always("admin.get", messages.Reply{Kind: messages.KindSecret, Secret: secretInfo()})
	f.always("admin.rotate-key", messages.Reply{Kind: messages.KindSecret, Secret: secretInfo()})
	f.always("admin.list", messages.Reply{Kind: messages.KindSecrets, Secrets: []messages.SecretInfo{*secretInfo()}})
	f.always("admin.delete", messages.Reply{Kind: messages.KindDeletion, Deletion: &messages.SecretDeletion{Name: "ci", Leases: 3}})
	f.always("admin.check", messages.Reply{Kind: messages.KindCheck, Check: &messages.SecretCheck{Name: "ci"}})
	f.serve()
	a := newAdmin(t, connect(t, s), client.AdminOptions{})
	for i, tt := range []struct {
		call          func() (string, error)
		subject, body string
		want          string
	}{
		{func() (string, error) {
			v, err := a.Secret(t.Context(), "ci")
			return fmt.Sprintf("%s %d", v.Name, v.Revision), err
		}, "get", `{"name":"ci"}`, "ci 7"},
		{func() (string, error) { v, err := a.RotateKey(t.Context(), "ci"); return v.Name, err }, "rotate-key", `{"name":"ci"}`, "ci"},
		{func() (string, error) { v, err := a.Secrets(t.Context()); return fmt.Sprint(len(v)), err }, "list", "", "1"},
		{func() (string, error) {
			v, err := a.DeleteSecret(t.Context(), "ci", false)
			return fmt.Sprintf("%d %t", v.Leases, v.Done), err
		}, "delete", `{"name":"ci"}`, "3 false"},
		{func() (string, error) {
			v, err := a.DeleteSecret(t.Context(), "ci", true)
			return v.Name, err
		}, "delete", `{"name":"ci","force":true}`, "ci"},
		{func() (string, error) {
			v, err := a.CheckSecret(t.Context(), "ci")
			return fmt.Sprintf("%s %t", v.Name, v.OK), err
		}, "check", `{"name":"ci"}`, "ci false"},
	} {
		got, err := tt.call()
		if got != tt.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", tt.subject, got, err, tt.want)
		}
		if m := f.messages()[i]; m.Subject != "lessor.admin.secret."+tt.subject || string(m.Data) != tt.body {
			t.Errorf("sent %s %s, want %s %s", m.Subject, m.Data, tt.subject, tt.body)
		}
	}
}

func TestPutSecret(t *testing.T) {
	f, s := newFake(t, nil)
	failed := &messages.SecretCheck{Name: "ci", Calls: []messages.CheckedCall{{Call: "CreateUser", Action: "iam:CreateUser", Error: "denied"}}}
	f.on("admin.put", func(m *nats.Msg, n int) {
		r := messages.Reply{Kind: messages.KindSecret, Secret: secretInfo(), Check: &messages.SecretCheck{Name: "ci", OK: true}}
		if n == 2 {
			r = messages.ErrorReply(messages.Errorf(messages.CodeCheckFailed, "the definition does not work"), nil)
			r.Check = failed
		}
		f.reply(m, r, "")
	})
	f.serve()
	a := newAdmin(t, connect(t, s), client.AdminOptions{})
	revision := uint64(7)
	put := messages.SecretPut{Definition: keyed(), Revision: &revision, NoCheck: true}
	got, err := a.PutSecret(t.Context(), put)
	if err != nil || got.Secret.Revision != 7 || got.Check == nil || !got.Check.OK {
		t.Errorf("%+v, %v", got, err)
	}
	if body := string(f.messages()[0].Data); strings.Contains(body, "s3cret") || strings.Contains(body, "secret_access_key") {
		t.Errorf("the message has the secret key in clear: %s", body)
	}
	sent, err := messages.DecodeSecretPut(f.messages()[0].Data)
	if err == nil {
		sent, err = brokerKeys.Unseal(sent)
	}
	if err != nil || sent.Definition.AWS.Auth.SecretAccessKey.Reveal() != "s3cret" || *sent.Revision != 7 || !sent.NoCheck {
		t.Errorf("sent %+v, %v", sent, err)
	}
	if p := fmt.Sprintf("%+v %#v", got, got); strings.Contains(p, "s3cret") {
		t.Errorf("the secret key prints: %s", p)
	}

	// A put that fails its dry run returns the check.
	got, err = a.PutSecret(t.Context(), put)
	if !messages.IsCode(err, messages.CodeCheckFailed) || got.Check == nil || len(got.Check.Calls) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAdminChecksBeforeSending(t *testing.T) {
	f, s := newFake(t, nil)
	f.serve()
	a := newAdmin(t, connect(t, s), client.AdminOptions{})
	for name, call := range map[string]func() error{
		"get":    func() error { _, err := a.Secret(t.Context(), "CI.>"); return err },
		"delete": func() error { _, err := a.DeleteSecret(t.Context(), "", true); return err },
		"check":  func() error { _, err := a.CheckSecret(t.Context(), "*"); return err },
		"rotate": func() error { _, err := a.RotateKey(t.Context(), "a b"); return err },
		"put":    func() error { _, err := a.PutSecret(t.Context(), messages.SecretPut{}); return err },
	} {
		var e *messages.Error
		if err := call(); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := f.messages(); len(m) != 0 {
		t.Errorf("%d messages were sent", len(m))
	}
	if _, err := client.NewAdmin(nil, client.AdminOptions{}); err == nil {
		t.Error("NewAdmin accepts a nil connection")
	}
}

// An incomplete reply must be an error and not a panic.
func TestAdminRefusesIncompleteReplies(t *testing.T) {
	f, s := newFake(t, nil)
	for verb, kind := range map[string]string{
		"put": messages.KindSecret, "get": messages.KindSecret, "rotate-key": messages.KindSecret,
		"delete": messages.KindDeletion, "check": messages.KindCheck, "list": messages.KindLeases,
	} {
		f.always("admin."+verb, messages.Reply{Kind: kind})
	}
	f.serve()
	a := newAdmin(t, connect(t, s), client.AdminOptions{})
	for name, call := range map[string]func() error{
		"put":    func() error { _, err := a.PutSecret(t.Context(), messages.SecretPut{Definition: keyed()}); return err },
		"get":    func() error { _, err := a.Secret(t.Context(), "ci"); return err },
		"rotate": func() error { _, err := a.RotateKey(t.Context(), "ci"); return err },
		"delete": func() error { _, err := a.DeleteSecret(t.Context(), "ci", false); return err },
		"check":  func() error { _, err := a.CheckSecret(t.Context(), "ci"); return err },
		"list":   func() error { _, err := a.Secrets(t.Context()); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A second rotation must not start while the first is in progress.
func TestAdminSendsNonIdempotentCommandsOnce(t *testing.T) {
	f, s := newFake(t, nil)
	f.serve()
	a := newAdmin(t, connect(t, s), client.AdminOptions{Timeout: 200 * time.Millisecond, Resend: 10 * time.Millisecond})
	for name, call := range map[string]func() error{
		"put":        func() error { _, err := a.PutSecret(t.Context(), messages.SecretPut{Definition: keyed()}); return err },
		"check":      func() error { _, err := a.CheckSecret(t.Context(), "ci"); return err },
		"rotate-key": func() error { _, err := a.RotateKey(t.Context(), "ci"); return err },
	} {
		before := len(f.messages())
		if err := call(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(f.messages()) - before; n != 1 {
			t.Errorf("%s was sent %d times", name, n)
		}
	}
	if _, err := a.Secret(t.Context(), "ci"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if n := len(f.messages()); n < 3+2 {
		t.Errorf("get was not sent again: %d messages", n)
	}
}

func TestAdminErrorWithoutPermissions(t *testing.T) {
	f, s := newFake(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "broker", Password: "p"},
			{Username: "alice", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"lessor.api.*.alice.>"}}}},
		}
	}, nats.UserInfo("broker", "p"))
	f.serve()
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	a := newAdmin(t, connect(t, s, nats.UserInfo("alice", "p"), quiet), client.AdminOptions{})
	if _, err := a.Secrets(t.Context()); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "operator commands") {
		t.Errorf("error %v", err)
	}
	if m := f.messages(); len(m) != 0 {
		t.Errorf("%d messages arrived", len(m))
	}
}
