package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// standard are the first parts of the paths of Go's own packages, and those with a
// meaning of their own: no other module can be called so.
var standard = strings.Fields(`archive bufio bytes cmd cmp compress container context crypto database debug embed
	encoding errors expvar flag fmt go hash html image index internal io iter log main maps math mime net os path
	plugin reflect regexp runtime slices sort std strconv strings structs sync syscall testing text time unicode
	unique unsafe vendor weak`)

var modulePath = regexp.MustCompile(`^[A-Za-z0-9_~.][A-Za-z0-9_~.-]*(/[A-Za-z0-9_~][A-Za-z0-9_~.-]*)*$`)

// ValidModule says whether a module of one's own can have that path.
func ValidModule(path string) error {
	if !modulePath.MatchString(path) || path[0] == '.' || strings.HasSuffix(path, ".") || strings.Contains(path, "./") {
		return fmt.Errorf("%q is no module path, such as example.com/agents/greeter", path)
	}
	if first, _, _ := strings.Cut(path, "/"); slices.Contains(standard, first) {
		return fmt.Errorf("%q is taken by Go itself: name another module path, such as example.com/%s", path, path)
	}
	return nil
}

// ModuleOf is the go.mod of the module that a folder is in, or would be, or empty.
func ModuleOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		name := filepath.Join(dir, "go.mod")
		info, err := os.Stat(name)
		if err == nil && !info.IsDir() {
			return name, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !notAFolder(dir) {
			return "", err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", nil
		}
		dir = up
	}
}

// notAFolder says whether a file has the name: the writing will say so.
func notAFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir()
}
