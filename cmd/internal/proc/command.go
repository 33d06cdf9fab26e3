// Package proc runs child processes: the NATS servers, brokers and the simulated AWS
// account of the soak test and the benchmark, and the processes of tests.
package proc

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner runs functions on one thread that lives as long as this process. On Linux a
// child that is to die with its parent dies with the thread that started it.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartCommand starts a command. On Linux the child is killed when this process ends,
// also if this process is killed itself.
func StartCommand(cmd *exec.Cmd) error {
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return <-started
}
