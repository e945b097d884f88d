//go:build unix

package embedded

import (
	"syscall"
	"testing"
)

// A process that is being forked holds a copy of every descriptor until it
// executes its program.
func TestReleaseEndsTheLockOfCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := syscall.Dup(int(lock.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(inherited) }()
	if err := lock.release(); err != nil {
		t.Fatal(err)
	}
	lock, err = lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.release(); err != nil {
		t.Fatal(err)
	}
}
