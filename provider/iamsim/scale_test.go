package iamsim_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// The test is for the race detector.
func TestConcurrentUserLifecycles(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				name := ptr(fmt.Sprintf("u%d-%d", i, j))
				_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Tags: manyTags(0, 3)})
				key, keyErr := w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
				if err != nil || keyErr != nil {
					t.Error(err, keyErr)
					return
				}
				_, _ = w.Allowed(*key.AccessKey.AccessKeyId, "s3:GetObject", "*")
				_, _, _ = w.Users(), w.Calls(), w.IssuedSecrets()
				_, keyErr = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: key.AccessKey.AccessKeyId})
				_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
				if err != nil || keyErr != nil {
					t.Error(err, keyErr)
				}
			}
		})
	}
	wg.Wait()
	if n := w.UserCount(); n != 0 || len(w.Calls()) != 8*5*4 || len(w.IssuedSecrets()) != 8*5 {
		t.Errorf("%d users, %d calls", n, len(w.Calls()))
	}
}

// Users have a key, a tag and an attached policy each.
func TestMemoryPerUserIsBounded(t *testing.T) {
	const users = 20_000
	sim := iamsim.New(iamsim.Options{MaxUsers: users})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range users {
		name := fmt.Sprintf("lessor-%d", i)
		sim.AddUser(name, "/lessor/", map[string]string{"lease": name})
		sim.AddAccessKey(name)
		sim.AttachPolicy(name, readOnly)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / users; each > 2048 {
		t.Errorf("%d bytes a user", each)
	} else {
		t.Logf("%d bytes a user", each)
	}
	runtime.KeepAlive(sim)
}
