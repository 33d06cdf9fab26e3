package iamsim_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// Users that exist during the whole listing are listed exactly once, while others are deleted.
func TestListUsersPagesAreConsistent(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	for i := range 10 {
		w.AddUser(fmt.Sprintf("u%d", i), "/lessor/", nil)
		w.AddUser(fmt.Sprintf("x%d", i), "/other/", nil)
	}
	var seen []string
	in := &iam.ListUsersInput{PathPrefix: ptr("/lessor/"), MaxItems: ptr[int32](3)}
	for page := 0; ; page++ {
		out, err := w.iam.ListUsers(ctx, in)
		w.want(err, "")
		for _, u := range out.Users {
			seen = append(seen, *u.UserName)
		}
		if out.IsTruncated != (out.Marker != nil) {
			t.Fatalf("truncated %v, marker %v", out.IsTruncated, out.Marker)
		}
		if !out.IsTruncated {
			break
		}
		if page == 0 { // the last listed user, a later one, and most of the others, so that the order is compacted
			w.RemoveUser("u2")
			w.RemoveUser("u5")
			for i := range 10 {
				w.RemoveUser(fmt.Sprintf("x%d", i))
			}
		}
		in.Marker = out.Marker
	}
	if want := []string{"u0", "u1", "u2", "u3", "u4", "u6", "u7", "u8", "u9"}; !slices.Equal(seen, want) {
		t.Errorf("saw %v", seen)
	}
}

func TestMaxItemsAndMarker(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	// On the loopback interface the response may arrive before net/http has sent the
	// whole request body. The SDK then closes the connection within a long response,
	// which a client with retries hides.
	id, secret := w.AddPrincipal("patient")
	retrying := iam.NewFromConfig(w.config(id, secret, ""), func(o *iam.Options) { o.Retryer = retry.NewStandard() })
	for i := range 101 {
		w.AddUser(fmt.Sprintf("u%d", i), "/lessor/", nil)
	}
	for _, test := range []struct {
		items *int32
		want  int
		more  bool
		code  string
	}{
		{nil, 100, true, ""},
		{ptr[int32](101), 101, false, ""},
		{ptr[int32](1000), 101, false, ""},
		{ptr[int32](1001), 0, false, "ValidationError"},
		{ptr[int32](0), 0, false, "ValidationError"},
	} {
		out, err := retrying.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: ptr("/lessor/"), MaxItems: test.items})
		w.want(err, test.code)
		if err == nil && (len(out.Users) != test.want || out.IsTruncated != test.more) {
			t.Errorf("%d, %v; want %d, %v", len(out.Users), out.IsTruncated, test.want, test.more)
		}
	}
	for _, marker := range []string{"!", "", "bm90YW51bWJlcg=="} {
		_, err := w.iam.ListUsers(ctx, &iam.ListUsersInput{Marker: &marker})
		w.want(err, "ValidationError")
	}
}

func TestListUserTagsPagesAreSorted(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddUser("alice", "/", map[string]string{"c": "3", "a": "1", "b": "2"})
	in := &iam.ListUserTagsInput{UserName: ptr("alice"), MaxItems: ptr[int32](2)}
	out, err := w.iam.ListUserTags(ctx, in)
	w.want(err, "")
	if len(out.Tags) != 2 || *out.Tags[0].Key != "a" || *out.Tags[1].Value != "2" || !out.IsTruncated {
		t.Fatalf("%+v", out)
	}
	in.Marker = out.Marker
	out, err = w.iam.ListUserTags(ctx, in)
	w.want(err, "")
	if len(out.Tags) != 1 || *out.Tags[0].Key != "c" || out.IsTruncated {
		t.Fatalf("%+v", out)
	}
}
