package schemas

import (
	"context"
	"sync"

	"github.com/hamba/avro/v2"
)

// MemoryRegistry is a registry in memory, for the tests of agents: it knows
// every schema that it is asked to name. It checks no compatibility.
type MemoryRegistry struct {
	ids cowMap[avro.Schema, int]

	mu     sync.RWMutex
	byText map[string]int
	byID   []avro.Schema // the schema of ID i+1
}

// NewMemoryRegistry returns an empty registry. Its IDs begin at 1.
func NewMemoryRegistry() *MemoryRegistry {
	m := &MemoryRegistry{byText: map[string]int{}}
	m.ids.limit = maxCachedSchemas
	return m
}

// Schema returns the schema of an ID, parsed from its text as a reader of a
// real registry would have it.
func (m *MemoryRegistry) Schema(_ context.Context, id int) (avro.Schema, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if id < 1 || id > len(m.byID) {
		return nil, &SchemaError{ID: id, Problem: "is unknown"}
	}
	return m.byID[id-1], nil
}

// ID returns the ID of a schema and registers it where it is new.
func (m *MemoryRegistry) ID(_ context.Context, schema avro.Schema) (int, error) {
	if id, ok := m.ids.get(schema); ok {
		return id, nil
	}
	text, err := SchemaText(schema)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := m.byText[text]
	if !ok {
		parsed, err := ParseSchema(text)
		if err != nil {
			return 0, &SchemaError{Subject: FullName(schema), Problem: "does not parse", Err: err}
		}
		m.byID = append(m.byID, parsed)
		id = len(m.byID)
		m.byText[text] = id
	}
	m.ids.put(schema, id)
	return id, nil
}

// LatestOfType returns the schemas that name a message type, the latest of each
// record.
func (m *MemoryRegistry) LatestOfType(_ context.Context, messageType string) ([]Registered, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []Registered
	seen := make(map[string]bool)
	for id := len(m.byID); id > 0; id-- {
		schema := m.byID[id-1]
		if subject := FullName(schema); MessageType(schema) == messageType && !seen[subject] {
			seen[subject] = true
			found = append(found, Registered{ID: id, Subject: subject, Schema: schema})
		}
	}
	return found, nil
}
