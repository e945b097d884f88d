package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const anyFreePort = "127.0.0.1:0"

// closeLimit bounds [Server.Close] where the caller's context does not.
const closeLimit = 30 * time.Second

// Config says where the server keeps its state and where it listens. The zero
// value is a server in memory on free ports.
type Config struct {
	// Dir is the folder that holds all state. It is created when absent; a
	// folder with other content is refused. Empty: in memory only.
	Dir string

	// Listen is the broker's host:port, which clients are also told to
	// connect to, so the host must be one that they can reach. Empty or port
	// 0: a free port on 127.0.0.1.
	Listen string

	// RegistryListen is the schema registry's host:port. Empty or port 0: a
	// free port on 127.0.0.1.
	RegistryListen string

	// SyncWrites calls fsync before each acknowledgement, against a crash of
	// the machine. Without it what was acknowledged survives a crash of the
	// process only; the package comment has the cost.
	SyncWrites bool

	// Logger takes warnings and errors of the broker. Nil: discarded.
	Logger *slog.Logger

	// ListenFunc opens the listeners, for a virtual network in tests. Nil:
	// net.Listen.
	ListenFunc func(network, address string) (net.Listener, error)
}

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = anyFreePort
	}
	if c.RegistryListen == "" {
		c.RegistryListen = anyFreePort
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ListenFunc == nil {
		c.ListenFunc = net.Listen
	}
}

func (c *Config) validate() error {
	return errors.Join(
		validateAddress("broker", c.Listen),
		validateAddress("registry", c.RegistryListen),
	)
}

// Server is a running broker and registry. Its methods are safe for
// concurrent use.
type Server struct {
	folder   *folder
	broker   *broker
	registry *registryServer

	brokers     []string
	registryURL string

	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
}

// Start starts both and returns once they serve. The context bounds the start
// only. On an error nothing is left running, and a folder that is in use
// (*[FolderInUseError]) or not ours (*[FolderFormatError]) is left as it was.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded: start: %w", err)
	}

	s := &Server{closed: make(chan struct{})}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()

	if s.folder, err = openFolder(cfg.Dir); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = s.folder.release() })

	brokerLn, err := listen(cfg.ListenFunc, "broker", cfg.Listen)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = brokerLn.Close() })
	registryLn, err := listen(cfg.ListenFunc, "registry", cfg.RegistryListen)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = registryLn.Close() })

	// Only now is anything written: an address in use leaves no new folder.
	if err := s.folder.prepare(); err != nil {
		return nil, err
	}
	reg, err := openRegistry(s.folder.registryFile())
	if err != nil {
		return nil, err
	}
	if s.broker, err = startBroker(brokerLn, s.folder, cfg.SyncWrites, cfg.Logger); err != nil {
		return nil, err
	}
	s.registry = serveRegistry(registryLn, reg, cfg.Logger)
	s.brokers = []string{brokerLn.Addr().String()}
	s.registryURL = "http://" + registryLn.Addr().String()
	return s, nil
}

// Brokers returns the broker's addresses as host:port.
func (s *Server) Brokers() []string { return append([]string(nil), s.brokers...) }

// RegistryURL returns the registry's base URL.
func (s *Server) RegistryURL() string { return s.registryURL }

// Close ends the registry, then the broker, writes what makes the next start
// fast, and gives the folder free. It may be called again and from several
// goroutines: all get the result of the first. It returns when all is done,
// when ctx ends, or after 30 s; in the last two cases the folder stays locked
// until the work that was under way has ended.
func (s *Server) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()

	s.closeOnce.Do(func() {
		go func() {
			defer close(s.closed)
			s.closeErr = errors.Join(
				s.registry.close(ctx),
				s.broker.close(),
				s.folder.release(),
			)
		}()
	})
	select {
	case <-s.closed:
		return s.closeErr
	case <-ctx.Done():
		return fmt.Errorf("embedded: close did not end in time: %w", ctx.Err())
	}
}
