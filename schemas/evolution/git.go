package evolution

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// gitSource has the files of one revision.
type gitSource struct {
	revision string
	level    schemas.Level
}

// FromGit is a source of the files at a git revision, such as main or v1.4.0. A
// file has one older version there: that of the same path, or, where its record
// stood elsewhere, the file of the same folder that has it. An empty level is
// FULL_TRANSITIVE.
func FromGit(revision string, level schemas.Level) Source {
	if level == "" {
		level = schemas.LevelFullTransitive
	}
	return &gitSource{revision, level}
}

func (s *gitSource) History(ctx context.Context, file string, schema avro.Schema) (*History, error) {
	h := &History{Level: s.level}
	folder, err := openFolder(ctx, filepath.Dir(file), s.revision)
	if err != nil {
		return nil, err
	}
	old, err := folder.find(ctx, filepath.Base(file), schema)
	if err != nil {
		return nil, err
	}
	if old == nil {
		h.Compared = "new: no .avsc file of its folder has it at " + s.revision
		return h, nil
	}
	h.Older = []Version{*old}
	h.Compared = fmt.Sprintf("compared with one older version, %s (%s)", old.Name, s.level)
	if s.level == schemas.LevelNone {
		h.Compared = "only its type is compared, with that of " + old.Name + " (NONE)"
	}
	return h, nil
}

// folder is a folder at a revision. It need not be there.
type folder struct {
	dir      string // in the work tree
	revision string // as it was named
	commit   string
	prefix   string   // the folder's path in the repository, with a slash at its end
	names    []string // its .avsc files
}

func openFolder(ctx context.Context, dir, revision string) (*folder, error) {
	commit, err := resolveRevision(ctx, dir, revision)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, revision: revision, commit: commit}
	prefix, err := git(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, err
	}
	f.prefix = strings.TrimSuffix(prefix, "\n")
	// Names come relative to the folder that git runs in.
	list, err := git(ctx, dir, "ls-tree", "-z", "--name-only", commit, "./")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(list, "\x00") {
		if strings.HasSuffix(name, ".avsc") {
			f.names = append(f.names, name)
		}
	}
	return f, nil
}

// find returns the older version of a file's record, or nil. A record that has a
// new name has none, unless its file had another one that is nowhere any more.
func (f *folder) find(ctx context.Context, base string, schema avro.Schema) (*Version, error) {
	record := schemas.FullName(schema)
	names := slices.Clone(f.names)
	if i := slices.Index(names, base); i >= 0 { // the same path counts first
		names = slices.Insert(slices.Delete(names, i, i+1), 0, base)
	}
	var same *Version
	for i, name := range names {
		old, err := f.version(ctx, name)
		if err != nil {
			return nil, err
		}
		if old.Schema != nil && schemas.FullName(old.Schema) == record {
			return old, nil
		}
		if i == 0 && name == base {
			same = old
		}
	}
	if same == nil || same.Schema != nil && f.kept(schemas.FullName(same.Schema)) {
		return nil, nil
	}
	return same, nil
}

func (f *folder) version(ctx context.Context, name string) (*Version, error) {
	text, err := git(ctx, f.dir, "cat-file", "blob", f.commit+":./"+name)
	if err != nil {
		return nil, err
	}
	v := &Version{Name: f.revision + ":" + f.prefix + name}
	v.Schema, v.Err = parse(text)
	return v, nil
}

// kept says whether a file of the work tree's folder still has a record.
func (f *folder) kept(record string) bool {
	entries, _ := os.ReadDir(f.dir)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".avsc" {
			continue
		}
		if schema, err := parseFile(filepath.Join(f.dir, e.Name())); err == nil && schemas.FullName(schema) == record {
			return true
		}
	}
	return false
}

// resolveRevision is the commit of a revision.
func resolveRevision(ctx context.Context, dir, revision string) (string, error) {
	if revision == "" || strings.HasPrefix(revision, "-") {
		return "", fmt.Errorf("%q is not a git revision", revision)
	}
	if _, err := git(ctx, dir, "rev-parse", "--git-dir"); err != nil {
		return "", err
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", revision+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("git knows no revision %s here: fetch it, or name another", revision)
	}
	return strings.TrimSpace(commit), nil
}

// git runs git in a folder and returns its output. An error is the first line of
// what git says.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("git is not installed, or not on the PATH")
	}
	if err != nil {
		says, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		if says == "" {
			says = err.Error()
		}
		return "", fmt.Errorf("git %s: %s", args[0], says)
	}
	return stdout.String(), nil
}
