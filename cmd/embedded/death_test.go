package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// heldStore names the variable that makes this test's program the process that
// dies.
const heldStore = "LESSOR_TEST_HELD_STORE"

func TestStoreOfADeadProcess(t *testing.T) {
	if dir := os.Getenv(heldStore); dir != "" {
		holdStore(t, dir)
		return
	}
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.CommandContext(t.Context(), program, "-test.run=^TestStoreOfADeadProcess$")
	holder.Env = append(holder.Environ(), heldStore+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	if _, err := embedded.Start(embedded.Options{StoreDir: dir}); !errors.Is(err, embedded.ErrStoreInUse) {
		t.Errorf("another process has the store: %v", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // it was killed, and says so

	want(t, bucket(t, start(t, embedded.Options{StoreDir: dir}).Connect, 1), "a", "1")
}

// holdStore starts a server, writes to it, and waits to be killed.
func holdStore(t *testing.T, dir string) {
	put(t, bucket(t, start(t, embedded.Options{StoreDir: dir}).Connect, 1), "a", "1")
	fmt.Println("held")
	select {}
}
