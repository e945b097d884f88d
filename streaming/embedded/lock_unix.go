//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// folderLock is an flock: the operating system gives it free when the process
// ends, however it ends, so no stale lock can be left behind.
type folderLock struct{ file *os.File }

func lockFolder(dir string) (*folderLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("embedded: lock folder: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		data, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		return nil, &FolderInUseError{Dir: dir, PID: holderPID(data)}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("embedded: lock folder: %w", err)
	}
	return &folderLock{file: f}, nil
}

// release leaves the file in place: removing it would let two processes hold
// locks on two files of the same name. It unlocks before it closes because
// closing alone would leave the lock to a child process that is just being
// forked and still has a copy of the descriptor.
func (l *folderLock) release() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
