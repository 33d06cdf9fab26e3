package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// startProfile starts a CPU profile of a part. The returned function stops it and writes
// an allocation profile. Without --profile, both do nothing.
func (b *bench) startProfile(part string) (stop func() error, err error) {
	if b.ProfileFolder == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(b.ProfileFolder, part+".cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		_ = cpu.Close() // the file is empty
		return nil, fmt.Errorf("--profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := cpu.Close(); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
		return b.writeAllocations(part)
	}, nil
}

// writeAllocations writes the profile of the allocations so far.
func (b *bench) writeAllocations(part string) error {
	file, err := os.Create(filepath.Join(b.ProfileFolder, part+".allocs.pprof"))
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	err = pprof.Lookup("allocs").WriteTo(file, 0)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	return nil
}
