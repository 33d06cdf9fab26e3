package awsiam

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestDeleteTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	b.ResetCalls()
	b.SetHook(meet(4, "DeleteUser"))
	if err := b.account.Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
		t.Fatal(err)
	}
	if got := b.actions(); !slices.Equal(sorted(got), sorted(deleteCalls)) || got[len(got)-1] != "DeleteUser" {
		t.Errorf("the calls are %v", got)
	}
	if d := iamsim.Depth(b.Calls()); d != 2 {
		t.Errorf("there are %d round trips", d)
	}
	b.expectGone()
}

// wireLog records when calls are begun and when they have been written.
type wireLog struct {
	aws.HTTPClient
	mu     sync.Mutex
	events []string
}

func (w *wireLog) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

func (w *wireLog) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	w.note("begun " + form.Get("Action"))
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { w.note("written " + form.Get("Action")) },
	})
	return w.HTTPClient.Do(r.WithContext(ctx))
}

func TestKeysDeletionIsTheFirstCallOnTheWire(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	log := &wireLog{HTTPClient: awshttp.NewBuildableClient()}
	id, secret := b.AddPrincipal("watched")
	p := New(Options{Endpoint: b.server.URL, Credentials: static(id, secret)})
	p.sender = log
	if err := b.connect(p).Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
		t.Fatal(err)
	}
	if len(log.events) != 2*len(deleteCalls) || log.events[0] != "begun DeleteAccessKey" || log.events[1] != "written DeleteAccessKey" {
		t.Errorf("on the wire: %v", log.events)
	}
}

// Each call of Delete fails. Then the key is deleted, or the user is denied everything.
// Delete is repeated, and leaves nothing.
func TestFailureAtEachCallOfDeleteLeavesNoUsableKey(t *testing.T) {
	t.Parallel()
	for _, action := range deleteCalls {
		for name, c := range map[string]struct {
			verdict iamsim.Verdict
			kind    provider.Kind
		}{
			"AccessDenied":   {refuse(403, "AccessDenied"), provider.Denied},
			"ServiceFailure": {refuse(500, "ServiceFailure"), provider.Unavailable},
			"throttled":      {iamsim.Verdict{Do: iamsim.Throttle}, provider.Unavailable},
			"dropped before": {iamsim.Verdict{Do: iamsim.DropBefore}, provider.Unavailable},
			"conflict":       {refuse(409, "ConcurrentModification"), provider.Unavailable},
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				key := b.create()
				b.SetHook(on(action, -1, c.verdict))
				expectError(t, b.account.Delete(t.Context(), deletion(key.AccessKeyID)), c.kind, "")
				if allowed, err := b.Allowed(key.AccessKeyID, "s3:GetObject", "arn:aws:s3:::bucket/key"); err == nil && allowed {
					t.Error("the key is alive and is allowed a call")
				}
				b.SetHook(nil)
				if err := b.account.Delete(t.Context(), deletion(key.AccessKeyID)); err != nil {
					t.Error(err)
				}
				b.expectGone()
			})
		}
	}
}

func TestDeleteSurvivesOneFaultAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range deleteCalls {
		for name, v := range map[string]iamsim.Verdict{
			"dropped before": {Do: iamsim.DropBefore},
			"dropped after":  {Do: iamsim.DropAfter},
			"empty":          {Do: iamsim.Empty},
			"throttled":      {Do: iamsim.Throttle},
			"conflict":       refuse(409, "ConcurrentModification"),
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				key := b.create()
				b.SetHook(on(action, 1, v))
				if err := b.account.Delete(t.Context(), deletion(key.AccessKeyID)); err != nil {
					t.Error(err)
				}
				b.expectGone()
			})
		}
	}
}

// The key's deletion is not acknowledged, and the context ends. The Deny is still put back.
func TestDenyIsPutBackAfterTheContextHasEnded(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	key := b.create()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	others := make(chan struct{})
	b.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		switch c.Action {
		case "DeleteAccessKey":
			<-others
			cancel()
			return iamsim.Verdict{Do: iamsim.DropBefore}
		case "DeleteUserPolicy":
			return iamsim.Verdict{After: func() { close(others) }}
		}
		return iamsim.Verdict{}
	})
	expectError(t, b.account.Delete(ctx, deletion(key.AccessKeyID)), provider.Unavailable, "")
	if u, _ := b.User(userName); u.InlinePolicies[definition.PolicyName] != definition.DenyAll {
		t.Errorf("the policies are %v", u.InlinePolicies)
	}
}

func TestErrorNamesBothFailuresIfTheDenyCannotBePutBack(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	key := b.create()
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		switch c.Action {
		case "DeleteAccessKey":
			return refuse(403, "AccessDenied")
		case "PutUserPolicy":
			return refuse(409, "LimitExceeded")
		}
		return iamsim.Verdict{}
	})
	err := b.account.Delete(t.Context(), deletion(key.AccessKeyID))
	expectError(t, err, provider.Denied, "")
	if text := err.Error(); !strings.Contains(text, "DeleteAccessKey") || !strings.Contains(text, "PutUserPolicy") {
		t.Errorf("the error is %v", err)
	}
}

func TestAllKeysAreDeletedIfTheKeyIsNotKnown(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.create()
	b.AddAccessKey(userName)
	if err := b.account.Delete(t.Context(), deletion("")); err != nil {
		t.Fatal(err)
	}
	b.expectGone()
	if n := b.count("DeleteAccessKey"); n != 2 {
		t.Errorf("%d keys were deleted", n)
	}
}

func TestNothingIsRemovedIfTheKeysCannotBeListed(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	b.SetHook(on("ListAccessKeys", -1, refuse(403, "AccessDenied")))
	expectError(t, b.account.Delete(t.Context(), deletion("")), provider.Denied, "")
	b.expectWhole(c, "1")
}

func TestDeleteKeyLeavesTheUser(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	other, _ := b.AddAccessKey(userName)
	d := deletion(c.AccessKeyID)
	d.Mode = provider.DeleteKey
	b.ResetCalls()
	for range 2 { // the second time there is nothing to delete
		if err := b.account.Delete(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	u, _ := b.User(userName)
	if len(u.AccessKeys) != 1 || u.AccessKeys[0].ID != other || len(u.Groups) != 1 || b.count("DeleteAccessKey") != len(b.Calls()) {
		t.Errorf("the user is %+v after %v", u, b.actions())
	}
}

func TestDeleteOfAMissingUserSucceedsUnlessItIsYoung(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		for _, mode := range []provider.DeletionMode{provider.DeleteUser, provider.DeleteKey} {
			b := newFixture(t)
			d := deletion("AKIAAAAAAAAAAAAAAAAA")
			d.OwnerKnown, d.Mode = known, mode
			if err := b.account.Delete(t.Context(), d); err != nil {
				t.Errorf("owner known %t, mode %d: %v", known, mode, err)
			}
			d.Young = true
			expectError(t, b.account.Delete(t.Context(), d), provider.NotVisible, "")
		}
	}
}

func TestYoungUserThatIsNotFoundIsNotVisible(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		b := newFixture(t)
		c := b.create()
		d := deletion(c.AccessKeyID)
		d.OwnerKnown, d.Young = known, true
		b.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
		expectError(t, b.account.Delete(t.Context(), d), provider.NotVisible, "")

		// The user becomes visible during Delete.
		b.ResetCalls()
		b.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict {
			if b.count("GetUser") == 2 || b.count("DeleteUser") == 2 {
				b.SetFaults(iamsim.Faults{})
			}
			return iamsim.Verdict{}
		})
		if err := b.account.Delete(t.Context(), d); err != nil {
			t.Errorf("owner known %t: %v", known, err)
		}
		b.expectGone()
	}
}
