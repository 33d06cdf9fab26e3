package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestASmallHeapIsCollectedRarely(t *testing.T) {
	for live, want := range map[float64]int{
		0: mostPercent, 1 << 20: mostPercent, 16 << 20: 400, 20 << 20: 300, 64 << 20: 100, 65 << 20: 100, 1 << 40: 100,
	} {
		if got := growth(live); got != want {
			t.Errorf("a heap of %g bytes may grow by %d %%, want %d", live, got, want)
		}
	}
}

// The heap is followed in a process of its own: there is one setting for all of it.
// (TestMain takes variables of the program away, so the one here has another name.)
func TestCollectionsFollowTheHeap(t *testing.T) {
	if os.Getenv("FOLLOW_COLLECTIONS") != "" {
		followsTheHeap(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v") // #nosec G204 -- the test itself
	cmd.Env = append(os.Environ(), "FOLLOW_COLLECTIONS=1", "GOGC=", "GOMAXPROCS=")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

func followsTheHeap(t *testing.T) {
	percent := func() int { p := debug.SetGCPercent(100); debug.SetGCPercent(p); return p }
	until := func(what string, holds func(int) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !holds(percent()); {
			if time.Now().After(end) {
				t.Fatalf("%s: the heap may grow by %d %%", what, percent())
			}
			runtime.GC()
		}
	}
	processors := runtime.GOMAXPROCS(0)
	suitProcess(os.Getenv, true)
	if got := runtime.GOMAXPROCS(0); got != 2*processors {
		t.Errorf("%d processors, and %d before", got, processors)
	}
	until("an empty heap", func(p int) bool { return p > 500 })
	full := make([]byte, 2*collectionRoom)
	until("a full heap", func(p int) bool { return p == 100 })
	runtime.KeepAlive(full)
	until("an empty heap again", func(p int) bool { return p > 500 })
	suitProcess(func(string) string { return "set" }, true)
	if got := runtime.GOMAXPROCS(0); got != 2*processors {
		t.Errorf("%d processors, though the environment says how many", got)
	}
}
