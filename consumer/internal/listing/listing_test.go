package listing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestPagesShowEveryLeaseOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	for i := range 25 {
		save(t, s, fmt.Sprintf("%02d", i), func(r record.Record) record.Record { return r })
	}
	save(t, s, "ended", ended)
	if _, err := s.Leases.Put(t.Context(), "alice.ci.damaged", []byte(`{}`), 0, 0); err != nil {
		t.Fatal(err)
	}
	q := Query{Filter: store.Filter("alice", "")}
	q.Limit = 10
	var names []string
	for page := range 3 {
		r, err := Page(t.Context(), s.Leases, q)
		if err != nil || (r.Next == "") != (page == 2) {
			t.Fatalf("%+v %v", r, err)
		}
		for _, l := range r.Leases {
			names = append(names, l.ID)
		}
		q.After = r.Next
	}
	want := make([]string, 25)
	for i := range want {
		want[i] = fmt.Sprintf("%02d", i)
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Fatalf("%v", names)
	}
}

func TestListShowsWhatTheQueryAsksFor(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	save(t, s, "live", func(r record.Record) record.Record { return r })
	save(t, s, "ended", ended)
	save(t, s, "failing", func(r record.Record) record.Record {
		r.State, r.TeardownError = messages.StateRevoking, "AWS is away"
		return r
	})
	save(t, s, "denied", func(r record.Record) record.Record { // requesters see a revoked lease
		r.State, r.DeniedAt = messages.StateRevoking, r.StartedAt
		return r
	})
	if _, err := s.Leases.Put(t.Context(), "alice.ci.damaged", []byte(`{}`), 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state   messages.State
		matches func(record.Record) bool
		want    string
	}{
		{"", nil, "failing live"},
		{"", record.Record.Failing, "failing"},
		{messages.StateRevoked, nil, "denied ended"},
		{messages.StateRevoking, nil, "failing"},
		{messages.StateFailed, nil, ""},
	} {
		unreadable := 0
		q := Query{Filter: ">", Matches: c.matches, Unreadable: func(err error) {
			if store.IsUnreadable(err) {
				unreadable++
			}
		}}
		q.State, q.Limit = c.state, 100
		r, err := Page(t.Context(), s.Leases, q)
		var ids []string
		for _, l := range r.Leases {
			ids = append(ids, l.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != c.want || r.Leases == nil || unreadable != 1 {
			t.Errorf("state %q: %q, want %q; %d unreadable, %v", c.state, got, c.want, unreadable, err)
		}
	}
}

func TestPageFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	leases := make([]messages.Lease, 5)
	for i := range leases {
		leases[i] = messages.Lease{Name: fmt.Sprint(i), Username: strings.Repeat("x", maxPageBytes/2-1000)}
	}
	if r, err := page(leases, 100); err != nil || len(r.Leases) != 2 || r.Next != "1" {
		t.Errorf("%d leases, then %q, %v", len(r.Leases), r.Next, err)
	}
	leases[0].Username = strings.Repeat("x", 2*maxPageBytes) // one lease is always shown
	if r, err := page(leases, 100); err != nil || len(r.Leases) != 1 || r.Next != "0" {
		t.Errorf("%d leases, then %q, %v", len(r.Leases), r.Next, err)
	}
}

func ended(r record.Record) record.Record {
	r.State = messages.StateRevoked
	return r
}

func save(t *testing.T, s *natstest.Server, id string, change func(record.Record) record.Record) {
	t.Helper()
	plan := record.Plan{Name: messages.LeaseName{Identity: "alice", Secret: "ci", ID: id}, TTL: messages.Duration(time.Hour)}
	r := record.New(plan, time.Now(), record.Timing{}.WithDefaults())
	if _, err := s.Leases.Save(t.Context(), change(r), 0); err != nil {
		t.Fatal(err)
	}
}
