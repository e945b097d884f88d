package embedded

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// FolderInUseError says that another server uses the folder.
type FolderInUseError struct {
	Dir string
	PID int // process ID of the holder; 0 when not known
}

func (e *FolderInUseError) Error() string {
	who := "another process"
	if e.PID == os.Getpid() {
		who = "this process"
	} else if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("embedded: folder %s is in use by %s: stop it or choose another folder", e.Dir, who)
}

// holderPID reads what the holder of the lock wrote. It may not have written
// it yet, so anything unreadable is an unknown holder.
func holderPID(data []byte) int {
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
