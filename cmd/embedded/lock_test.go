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

// openStore is the variable that makes this test's program the process that is killed.
const openStore = "LESSOR_TEST_OPEN_STORE"

func TestStoreOfAKilledProcessCanBeOpened(t *testing.T) {
	if dir := os.Getenv(openStore); dir != "" {
		writeAndWait(t, dir)
		return
	}
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.CommandContext(t.Context(), program, "-test.run=^TestStoreOfAKilledProcessCanBeOpened$")
	holder.Env = append(holder.Environ(), openStore+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process prints %q, %v", line, err)
	}
	if _, err := embedded.Start(embedded.Options{StoreDir: dir}); !errors.Is(err, embedded.ErrStoreInUse) {
		t.Errorf("a store that another process has open: %v", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // the error is that it was killed

	want(t, bucket(t, start(t, embedded.Options{StoreDir: dir}).Connect, 1), "a", "1")
}

// writeAndWait starts a server, writes to it, and waits to be killed.
func writeAndWait(t *testing.T, dir string) {
	put(t, bucket(t, start(t, embedded.Options{StoreDir: dir}).Connect, 1), "a", "1")
	fmt.Println("open")
	select {}
}
