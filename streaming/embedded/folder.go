package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// folderFormat is the version of the layout below. A change that older code
// would misread raises it.
const folderFormat = 1

const (
	formatName   = "parley.json"   // says that the folder is ours
	lockName     = "parley.lock"   // held while a process uses the folder
	brokerName   = "broker"        // the broker's own files
	trimsName    = "trims.log"     // what the broker does not keep: see trims.go
	registryName = "registry.json" // the registry's state
)

// FolderFormatError says that a folder is not one of ours, or of a version
// that this program does not know. Nothing was written to it.
type FolderFormatError struct {
	Dir    string
	Reason string
}

func (e *FolderFormatError) Error() string {
	return fmt.Sprintf("embedded: folder %s %s: choose another folder", e.Dir, e.Reason)
}

type formatFile struct {
	Format int `json:"format"`
}

// folder is the locked folder of one server. Its zero value, without a
// folder, keeps all in memory.
type folder struct {
	dir  string
	lock *folderLock
}

// openFolder checks dir and, where it is already ours, locks it. A folder
// that is absent or empty is left alone until prepare.
func openFolder(dir string) (*folder, error) {
	f := &folder{dir: dir}
	if dir == "" {
		return f, nil
	}
	ours, err := inspectFolder(dir)
	if err != nil || !ours {
		return f, err
	}
	if f.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	return f, nil
}

// prepare makes a new folder ours. It does nothing for one that is.
func (f *folder) prepare() error {
	if f.dir == "" || f.lock != nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("embedded: create folder: %w", err)
	}
	lock, err := lockFolder(f.dir)
	if err != nil {
		return err
	}
	f.lock = lock
	// Another process may have been here between the check and the lock.
	ours, err := inspectFolder(f.dir)
	if err != nil || ours {
		return err
	}
	data, err := json.Marshal(formatFile{Format: folderFormat})
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(f.dir, formatName), append(data, '\n'))
}

func (f *folder) release() error {
	if f == nil || f.lock == nil {
		return nil
	}
	return f.lock.release()
}

func (f *folder) brokerDir() string    { return f.path(brokerName) }
func (f *folder) trimsFile() string    { return f.path(trimsName) }
func (f *folder) registryFile() string { return f.path(registryName) }

func (f *folder) path(name string) string {
	if f.dir == "" {
		return ""
	}
	return filepath.Join(f.dir, name)
}

// inspectFolder reports whether dir is ours; false and no error means that it
// is absent or empty. It writes nothing.
func inspectFolder(dir string) (ours bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, formatName))
	switch {
	case err == nil:
		var ff formatFile
		if json.Unmarshal(data, &ff) != nil || ff.Format < 1 {
			return false, &FolderFormatError{Dir: dir, Reason: "has a " + formatName + " that cannot be read"}
		}
		if ff.Format != folderFormat {
			return false, &FolderFormatError{Dir: dir, Reason: fmt.Sprintf("has format %d, this program knows format %d", ff.Format, folderFormat)}
		}
		return true, nil
	case !errors.Is(err, fs.ErrNotExist):
		if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
			return false, &FolderFormatError{Dir: dir, Reason: "is a file"}
		}
		return false, fmt.Errorf("embedded: read folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("embedded: read folder: %w", err)
	}
	for _, e := range entries {
		// A crash during prepare leaves these two and nothing else.
		if e.Name() != lockName && e.Name() != formatName+tempSuffix {
			return false, &FolderFormatError{Dir: dir, Reason: "holds other files and no " + formatName}
		}
	}
	return false, nil
}
