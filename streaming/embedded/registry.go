package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// registry is the state with its file. All of its methods are safe for
// concurrent use.
type registry struct {
	path string // empty in memory

	mu    sync.RWMutex
	state *registryState
}

func openRegistry(path string) (*registry, error) {
	r := &registry{path: path, state: newRegistryState()}
	if path == "" {
		return r, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("embedded: read registry: %w", err)
	}
	// Starting empty here would give out IDs again: never go on without it.
	loaded := &registryState{}
	if err := json.Unmarshal(data, loaded); err != nil {
		return nil, fmt.Errorf("embedded: %s cannot be read: %w", path, err)
	}
	if err := loaded.index(); err != nil {
		return nil, fmt.Errorf("embedded: %s %w", path, err)
	}
	r.state = loaded
	return r, nil
}

// read gives f the state, which f must not change.
func (r *registry) read(f func(*registryState) (any, error)) (any, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return f(r.state)
}

// change makes what f does to the state durable, then visible. Where f
// reports no change, nothing is written; on an error nothing has changed.
func (r *registry) change(f func(*registryState) (answer any, changed bool, err error)) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.state.clone()
	answer, changed, err := f(next)
	if err != nil || !changed {
		return answer, err
	}
	if r.path != "" {
		data, err := json.Marshal(next)
		if err != nil {
			return nil, err
		}
		if err := writeFileAtomic(r.path, append(data, '\n')); err != nil {
			return nil, err
		}
	}
	r.state = next
	return answer, nil
}
