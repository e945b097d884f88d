package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// shutdownTime bounds how long Serve waits for requests under way.
const shutdownTime = 2 * time.Second

// Handler serves /metrics (text, or OpenMetrics or protobuf where the scraper
// asks for it), /healthz (200 while the process can answer) and /readyz (200,
// or 503 with one line that says why not). A nil ready is always ready; ready
// is called on each request, by many goroutines.
func Handler(gatherer prometheus.Gatherer, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				plain(w, http.StatusServiceUnavailable, "not ready: "+oneLine(err.Error()))
				return
			}
		}
		plain(w, http.StatusOK, "ready")
	})
	return mux
}

func plain(w http.ResponseWriter, code int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, line) // the client is gone: nobody to tell
}

// oneLine joins the lines of an error: errors.Join breaks them.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// Server is an HTTP server that listens from the moment it is made.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen binds addr (host:port; port 0 takes a free one) and returns a server
// for h. An address in use or not ours is an error here, not later in Serve.
func Listen(addr string, h http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics address %s: %w", addr, err)
	}
	return &Server{listener: l, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}}, nil
}

// Addr returns the address that is listened on, with its real port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends the server at once. It is needed only where Serve is not called.
func (s *Server) Close() error {
	// The HTTP server knows its listener only once it serves.
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

// Serve answers until ctx ends, then waits up to 2 s for requests under way
// and closes what is left. It returns nil after such an end, else the error
// that stopped it. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve metrics: %w", err), s.Close())
	case <-ctx.Done():
	}
	// ctx has ended; its values stay, its end must not cut the shutdown short.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := s.http.Shutdown(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // a slow scraper is no failure of ours
	}
	err = errors.Join(err, s.Close())
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Serve listens on addr and answers until ctx ends: Listen and Server.Serve
// for callers that chose the port.
func Serve(ctx context.Context, addr string, h http.Handler) error {
	s, err := Listen(addr, h)
	if err != nil {
		return err
	}
	return s.Serve(ctx)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
