package consumer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// commandEvents returns the events about operators' commands, one line each, in order.
func (w *world) commandEvents() (lines []string) {
	w.T.Helper()
	for _, e := range w.Events("") {
		if e.Type != "lessor.admin.command" {
			continue
		}
		c, line := e.Data.Command, ""
		for _, part := range []string{c.Name, string(c.Outcome), c.By, c.Secret, c.Identity, c.Lease} {
			if part != "" {
				line += " " + part
			}
		}
		if e.Data.Error != nil {
			line += " " + string(e.Data.Error.Code)
		}
		lines = append(lines, line[1:])
	}
	return lines
}

func TestOperatorsCommandsHaveEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	as := func(operator, subject, body string) messages.Reply {
		return w.Operate(w.Namespace.AdminAs(operator, subject), body)
	}
	w.adminSecret(messages.AdminPut, putBody(lessortest.Secret, `,"no_check":true`))
	as("kim", w.Namespace.AdminSecret(messages.AdminPut), putBody(`{"name":"db","max_leases":-1}`, ""))
	w.adminSecret(messages.AdminGet, `{"name":"ci"}`)
	w.adminSecret(messages.AdminList, "")
	as("kim", w.Namespace.AdminSecret(messages.AdminGet), `{"name":"nope"}`)
	as("kim", w.Namespace.AdminLease(messages.AdminLeaseRevoke), `{"identity":"alice","reason":"has left"}`)
	as("kim", w.Namespace.AdminLease(messages.AdminLeaseRevoke), `{"lease":"bob.ci.1"}`)
	as("kim", w.Namespace.AdminSweep(), `{"apply":true}`)
	if r := as("Kim", w.Namespace.AdminSweep(), ""); r.Error == nil || r.Error.Code != messages.CodeInvalidSubject {
		t.Errorf("an operator with an invalid name: %+v", r)
	}
	want := []string{
		"secret-put asked ci", "secret-put done ci",
		"secret-put asked kim db", "secret-put refused kim db invalid_secret",
		"secret-get refused kim nope secret_not_found",
		"lease-revoke asked kim alice", "lease-revoke done kim alice",
		"lease-revoke asked kim bob.ci.1", "lease-revoke refused kim bob.ci.1 lease_not_found",
		"sweep asked kim", "sweep done kim",
	}
	if have := w.commandEvents(); !slices.Equal(have, want) {
		t.Errorf("the events are\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range w.Events("") {
		if c := e.Data.Command; c != nil && c.Name == "secret-put" && c.Outcome == messages.OutcomeDone && c.Revision == 0 {
			t.Error("the event has no revision")
		}
	}
	w.wantFindings()
}

func TestCommandWithoutItsEventIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	r := w.adminLease(messages.AdminLeaseRevoke, `{"identity":"alice"}`)
	if r.Error == nil || r.Error.Code != messages.CodeUnavailable || !strings.Contains(r.Error.Message, "not carried out") {
		t.Fatalf("%+v", r)
	}
	if r := w.adminSecret(messages.AdminGet, `{"name":"ci"}`); r.Kind != messages.KindSecret {
		t.Errorf("a command that only reads is refused: %v", r.Error)
	}
	if n := w.Sim.UserCount(); n != 1 {
		t.Errorf("%d users", n)
	}
}
