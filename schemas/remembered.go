package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/sr"
)

// Bounds of what a folder remembers of one registry.
const (
	maxRemembered     = maxCachedSchemas // files
	maxRememberedSize = 1 << 20          // bytes of each
)

// WithSchemaCache remembers in a folder, for longer than the process, which schema
// an ID has and which ID a schema. A registry that cannot be reached is then no
// obstacle for schemas that were used before; as long as it answers, it is asked.
// The folder holds the 4,096 newest facts of each registry. Files that cannot be
// read or written are told to the logger, which may be nil, and otherwise ignored.
func WithSchemaCache(dir string, logger *slog.Logger) RegistryOption {
	return func(r *Registry) { r.kept = newRemembered(dir, r.url, logger) }
}

// remembered is a folder with what a registry has said, for when it cannot be
// asked: facts only that cannot change, the schema of an ID and the ID of a
// schema. Processes may share it. What cannot be read counts as not known.
type remembered struct {
	dir      string
	registry string // its URL
	limit    int
	logger   *slog.Logger
}

// fact is the content of a file.
type fact struct {
	Registry string `json:"registry"` // for people
	ID       int    `json:"id"`
	Schema   string `json:"schema"`
	Sum      string `json:"sha256"` // over ID and schema: a file may be cut or damaged
}

func (f *fact) sum() string {
	sum := sha256.Sum256([]byte(strconv.Itoa(f.ID) + "\n" + f.Schema))
	return hex.EncodeToString(sum[:])
}

func newRemembered(dir, registry string, logger *slog.Logger) *remembered {
	sum := sha256.Sum256([]byte(registry))
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &remembered{dir: filepath.Join(dir, hex.EncodeToString(sum[:8])), registry: registry, limit: maxRemembered, logger: logger}
}

func idFile(id int) string { return fmt.Sprintf("id-%d.json", id) }

// A schema's text has its full name in it, which is its subject.
func schemaFile(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "schema-" + hex.EncodeToString(sum[:16]) + ".json"
}

// schema returns the schema of an ID; nil: not known.
func (m *remembered) schema(id int) avro.Schema {
	f := m.read(idFile(id))
	if f == nil || f.ID != id {
		return nil
	}
	schema, err := ParseSchema(f.Schema)
	if err != nil {
		m.logger.Warn("a remembered schema is ignored", "file", idFile(id), "error", err)
		return nil
	}
	return schema
}

// id returns the ID of a schema's text; 0: not known.
func (m *remembered) id(text string) int {
	if f := m.read(schemaFile(text)); f != nil && f.Schema == text && f.ID > 0 {
		return f.ID
	}
	return 0
}

// keepSchema remembers the schema of an ID.
func (m *remembered) keepSchema(id int, text string) {
	m.keep(idFile(id), fact{Registry: m.registry, ID: id, Schema: text})
}

// keepID remembers the ID of a schema's text, and that text as the schema of the
// ID until the registry has told its own: a worker that wrote a schema may never
// have read it.
func (m *remembered) keepID(text string, id int) {
	if m.read(idFile(id)) == nil {
		m.keepSchema(id, text)
	}
	m.keep(schemaFile(text), fact{Registry: m.registry, ID: id, Schema: text})
}

func (m *remembered) read(name string) *fact {
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f fact
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Sum != f.sum() {
		err = errors.New("its checksum is another")
	}
	if err != nil {
		m.logger.Warn("a remembered schema is ignored", "file", filepath.Join(m.dir, name), "error", err)
		return nil
	}
	return &f
}

// keep writes a file, so that a reader sees it whole or not at all. A failure
// costs the memory and nothing else.
func (m *remembered) keep(name string, f fact) {
	f.Sum = f.sum()
	if err := m.write(name, f); err != nil {
		m.logger.Warn("a schema cannot be remembered", "error", err)
	}
}

func (m *remembered) write(name string, f fact) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(data) > maxRememberedSize {
		return fmt.Errorf("schema %d of %d bytes is too large", f.ID, len(data))
	}
	path := filepath.Join(m.dir, name)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if err := m.makeRoom(); err != nil {
		return err
	}
	temp, err := os.CreateTemp(m.dir, "new-")
	if err != nil {
		return err
	}
	// Not synced: what a crash of the machine leaves cut is known by its sum.
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// makeRoom removes the oldest files at the limit, an eighth of it at once.
func (m *remembered) makeRoom() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil || len(entries) < m.limit {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var files []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return a.at.Compare(b.at) })
	for _, f := range files[:min(len(files), len(entries)-m.limit+max(1, m.limit/8))] {
		if err := os.Remove(filepath.Join(m.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keepSchema remembers a schema's own text, or where that refers to others the
// whole one.
func (r *Registry) keepSchema(id int, s sr.Schema, schema avro.Schema) {
	text := s.Schema
	if len(s.References) > 0 {
		var err error
		if text, err = SchemaText(schema); err != nil {
			return
		}
		if whole, err := ParseSchema(text); err != nil || whole.Fingerprint() != schema.Fingerprint() {
			return
		}
	}
	r.kept.keepSchema(id, text)
}

// keptSchema is what is remembered of an ID where the registry gave no answer.
func (r *Registry) keptSchema(err error, id int) avro.Schema {
	if _, down := errors.AsType[*RegistryUnavailableError](err); !down || r.kept == nil {
		return nil
	}
	schema := r.kept.schema(id)
	if schema != nil {
		r.kept.logger.Warn("the schema registry cannot be reached; a schema is known from before", "id", id, "schema", FullName(schema), "error", err)
	}
	return schema
}

// keptID is what is remembered of a schema where the registry gave no answer.
func (r *Registry) keptID(err error, schema avro.Schema) int {
	if _, down := errors.AsType[*RegistryUnavailableError](err); !down || r.kept == nil {
		return 0
	}
	text, textErr := SchemaText(schema)
	if textErr != nil {
		return 0
	}
	id := r.kept.id(text)
	if id != 0 {
		r.kept.logger.Warn("the schema registry cannot be reached; a schema's ID is known from before", "id", id, "schema", FullName(schema), "error", err)
		r.ids.put(schema, id)
	}
	return id
}
