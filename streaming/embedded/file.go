package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const tempSuffix = ".tmp"

// writeFileAtomic replaces a file so that after a crash at any moment, of the
// machine too, it has its old content or the new one, and so that the new one
// is on the disk when it returns.
func writeFileAtomic(path string, data []byte) (err error) {
	temp := path + tempSuffix
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
			err = fmt.Errorf("embedded: write %s: %w", filepath.Base(path), err)
		}
	}()
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
