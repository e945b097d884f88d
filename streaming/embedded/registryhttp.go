package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

const (
	registryContentType = "application/vnd.schemaregistry.v1+json"

	// maxRequestBytes bounds a request: far above any real schema.
	maxRequestBytes = 4 << 20
)

// registryServer serves a registry over HTTP.
type registryServer struct {
	http   *http.Server
	served chan error
}

func serveRegistry(ln *gatedListener, reg *registry, logger *slog.Logger) *registryServer {
	s := &registryServer{
		http: &http.Server{
			Handler:           registryHandler(reg, logger),
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
		served: make(chan error, 1),
	}
	ln.open()
	go func() { s.served <- s.http.Serve(ln) }()
	return s
}

// close lets requests that are under way end until ctx does, then cuts them.
func (s *registryServer) close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// endpoint answers one kind of request: with a value that is sent as JSON, a
// rawJSON that is sent as it is, or an error.
type endpoint func(*http.Request) (any, error)

type rawJSON string

func registryHandler(reg *registry, logger *slog.Logger) http.Handler {
	a := &api{reg: reg}
	mux := http.NewServeMux()
	for pattern, e := range map[string]endpoint{
		"GET /{$}": func(*http.Request) (any, error) { return struct{}{}, nil },

		"GET /schemas/types":             func(*http.Request) (any, error) { return []string{avroType}, nil },
		"GET /schemas":                   a.allSchemas,
		"GET /schemas/ids/{id}":          a.schemaByID,
		"GET /schemas/ids/{id}/schema":   a.schemaTextByID,
		"GET /schemas/ids/{id}/versions": a.versionsByID,
		"GET /schemas/ids/{id}/subjects": a.subjectsByID,

		"GET /subjects":                                             a.subjects,
		"POST /subjects/{subject}":                                  a.lookup,
		"DELETE /subjects/{subject}":                                a.deleteSubject,
		"GET /subjects/{subject}/versions":                          a.versions,
		"POST /subjects/{subject}/versions":                         a.register,
		"GET /subjects/{subject}/versions/{version}":                a.version,
		"DELETE /subjects/{subject}/versions/{version}":             a.deleteVersion,
		"GET /subjects/{subject}/versions/{version}/schema":         a.versionText,
		"GET /subjects/{subject}/versions/{version}/referencedby":   a.referencedBy,
		"POST /compatibility/subjects/{subject}/versions":           a.compatibleWithAll,
		"POST /compatibility/subjects/{subject}/versions/{version}": a.compatibleWithVersion,

		"GET /config":              a.level,
		"PUT /config":              a.setLevel,
		"DELETE /config":           a.resetLevel,
		"GET /config/{subject}":    a.level,
		"PUT /config/{subject}":    a.setLevel,
		"DELETE /config/{subject}": a.resetLevel,

		"GET /mode":           mode,
		"GET /mode/{subject}": mode,

		"/": func(*http.Request) (any, error) {
			return nil, newAPIError(http.StatusNotFound, http.StatusNotFound, "HTTP 404 Not Found")
		},
	} {
		mux.Handle(pattern, serveEndpoint(e, logger))
	}
	return mux
}

func serveEndpoint(e endpoint, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
		answer, err := e(r)
		status := http.StatusOK
		if err != nil {
			var no *apiError
			if !errors.As(err, &no) {
				logger.Error("registry request failed", "method", r.Method, "path", r.URL.Path, "error", err)
				no = newAPIError(http.StatusInternalServerError, 50001, "Error in the backend data store: %v", err)
			}
			status = no.status
			answer = map[string]any{"error_code": no.code, "message": no.message}
		}
		w.Header().Set("Content-Type", registryContentType)
		w.WriteHeader(status)
		if raw, ok := answer.(rawJSON); ok {
			_, _ = w.Write([]byte(raw)) // the client is gone if this fails
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
}

func mode(*http.Request) (any, error) { return map[string]string{"mode": "READWRITE"}, nil }
