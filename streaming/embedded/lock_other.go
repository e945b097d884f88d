//go:build !unix

package embedded

import "errors"

type folderLock struct{}

func lockFolder(string) (*folderLock, error) {
	return nil, errors.New("embedded: a folder cannot be locked on this operating system: run in memory (no folder) or on Apache Kafka")
}

func (*folderLock) release() error { return nil }
