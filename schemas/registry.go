package schemas

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Registry is a schema registry with Confluent's API, cached: what it said once
// about an ID or a schema is not asked again. A schema's subject is its full
// name. For an unknown ID there is one request at a time, and its answer is
// remembered for a time.
//
// Its methods return *SchemaError for what the registry does not know or
// refuses, *RegistryUnavailableError where it gives no usable answer, and the
// context's cause where the caller's context ends first.
type Registry struct {
	url          string
	client       *sr.Client
	http         *http.Client
	clock        streaming.Clock
	timeout      time.Duration
	negativeTTL  time.Duration
	autoRegister bool
	kept         *remembered // nil: nothing outlives the process

	byID       cowMap[int, avro.Schema]
	ids        cowMap[avro.Schema, int]
	unknownIDs expiringErrors[int]
	unknown    expiringErrors[avro.Schema]
	fetches    flight[int, avro.Schema]
	lookups    flight[avro.Schema, int]
	registers  flight[avro.Schema, int]
}

// What a Registry takes when no option says otherwise.
const (
	DefaultRegistryTimeout = 5 * time.Second
	DefaultNegativeTTL     = 30 * time.Second
)

const (
	maxCachedSchemas = 4096
	maxCachedUnknown = 16384
)

// RegistryOption sets up a Registry.
type RegistryOption func(*Registry)

// WithAutoRegister makes ID register schemas that the registry does not know.
// It is for development and demos: in production a change of schema is checked
// and registered before it is deployed.
func WithAutoRegister() RegistryOption {
	return func(r *Registry) { r.autoRegister = true }
}

// WithNegativeTTL sets how long an unknown ID or schema is not asked for again.
func WithNegativeTTL(d time.Duration) RegistryOption {
	return func(r *Registry) { r.negativeTTL = d }
}

// WithRegistryTimeout bounds each question to the registry.
func WithRegistryTimeout(d time.Duration) RegistryOption {
	return func(r *Registry) { r.timeout = d }
}

// WithClock sets the clock that negative answers age by.
func WithClock(c streaming.Clock) RegistryOption {
	return func(r *Registry) { r.clock = c }
}

// WithHTTPClient sets the HTTP client, for TLS settings or a proxy of one's
// own.
func WithHTTPClient(c *http.Client) RegistryOption {
	return func(r *Registry) { r.http = c }
}

// NewRegistry returns a client of the registry at rawURL, such as
// http://registry:8081. A user and password in it are sent as basic
// authentication and never shown. Nothing is asked of the registry yet.
func NewRegistry(rawURL string, opts ...RegistryOption) (*Registry, error) {
	u, err := url.Parse(rawURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("the schema registry's URL has to be http://host:port or https://host:port")
	}
	user := u.User
	u.User = nil
	r := &Registry{
		url:         u.String(),
		clock:       streaming.SystemClock{},
		timeout:     DefaultRegistryTimeout,
		negativeTTL: DefaultNegativeTTL,
	}
	for _, opt := range opts {
		opt(r)
	}
	if r.http == nil {
		// A transport of its own, so that Close ends its connections alone.
		r.http = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	r.byID.limit, r.ids.limit = maxCachedSchemas, maxCachedSchemas
	r.unknownIDs.limit, r.unknown.limit = maxCachedUnknown, maxCachedUnknown
	clientOpts := []sr.ClientOpt{sr.URLs(r.url), sr.HTTPClient(r.http), sr.UserAgent("parley")}
	if user != nil {
		password, _ := user.Password()
		clientOpts = append(clientOpts, sr.BasicAuth(user.Username(), password))
	}
	if r.client, err = sr.NewClient(clientOpts...); err != nil {
		return nil, fmt.Errorf("schema registry %s: %w", r.url, err)
	}
	return r, nil
}

// Close ends idle connections.
func (r *Registry) Close() { r.http.CloseIdleConnections() }

// URL returns the registry's address, without credentials.
func (r *Registry) URL() string { return r.url }

// Schema returns the schema of an ID.
func (r *Registry) Schema(ctx context.Context, id int) (avro.Schema, error) {
	if schema, err := r.knownSchema(id); schema != nil || err != nil {
		return schema, err
	}
	return r.fetches.do(ctx, id, r.timeout, func(ctx context.Context) (avro.Schema, error) {
		// A call for the same ID may have ended since the question above.
		if schema, err := r.knownSchema(id); schema != nil || err != nil {
			return schema, err
		}
		schema, err := r.fetch(ctx, id)
		if known := r.keptSchema(err, id); known != nil {
			schema, err = known, nil
		}
		if err != nil {
			if _, ok := errors.AsType[*SchemaError](err); ok {
				now := r.clock.Now()
				r.unknownIDs.put(id, err, now, now.Add(r.negativeTTL))
			}
			return nil, err
		}
		r.byID.put(id, schema)
		return schema, nil
	})
}

func (r *Registry) knownSchema(id int) (avro.Schema, error) {
	if schema, ok := r.byID.get(id); ok {
		return schema, nil
	}
	// The API's IDs are int32, and a frame can hold more.
	if id < 0 || id > math.MaxInt32 {
		return nil, &SchemaError{ID: id, Problem: "no registry has such an ID"}
	}
	return nil, r.unknownIDs.get(id, r.clock.Now())
}

func (r *Registry) fetch(ctx context.Context, id int) (avro.Schema, error) {
	s, err := r.client.SchemaByID(ctx, id)
	if err != nil {
		return nil, r.explain(ctx, err, &SchemaError{ID: id, Problem: "is unknown to the registry " + r.url})
	}
	if s.Schema == "" {
		return nil, r.noRegistry()
	}
	schema, err := r.parse(ctx, s)
	if err != nil {
		if _, ok := errors.AsType[*RegistryUnavailableError](err); ok {
			return nil, err
		}
		return nil, &SchemaError{ID: id, Problem: "cannot be used", Err: err}
	}
	if r.kept != nil {
		r.keepSchema(id, s, schema)
	}
	return schema, nil
}

// maxReferences bounds the schemas that one schema draws in.
const maxReferences = 64

// parse parses a schema and, before it, what it refers to.
func (r *Registry) parse(ctx context.Context, s sr.Schema) (avro.Schema, error) {
	names := &avro.SchemaCache{}
	left := maxReferences
	var parse func(sr.Schema) (avro.Schema, error)
	parse = func(s sr.Schema) (avro.Schema, error) {
		if s.Type != sr.TypeAvro {
			return nil, fmt.Errorf("it is of type %s instead of Avro", s.Type)
		}
		for _, ref := range s.References {
			if left--; left < 0 {
				return nil, fmt.Errorf("it refers to more than %d schemas", maxReferences)
			}
			referred, err := r.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
			if err != nil {
				return nil, r.explain(ctx, err, &SchemaError{Subject: ref.Subject, Problem: fmt.Sprintf("version %d is unknown", ref.Version)})
			}
			if _, err := parse(referred.Schema); err != nil {
				return nil, fmt.Errorf("reference %s: %w", ref.Name, err)
			}
		}
		return parseSchema(s.Schema, names)
	}
	return parse(s)
}

// ID returns the ID of a schema: what the registry knows, or with
// WithAutoRegister what it then gives.
func (r *Registry) ID(ctx context.Context, schema avro.Schema) (int, error) {
	if id, ok := r.ids.get(schema); ok {
		return id, nil
	}
	ask := r.Lookup
	if r.autoRegister {
		ask = func(ctx context.Context, schema avro.Schema) (int, error) {
			return r.ask(ctx, &r.registers, schema, r.register)
		}
	}
	id, err := ask(ctx, schema)
	if known := r.keptID(err, schema); known != 0 {
		return known, nil
	}
	return id, err
}

// Lookup returns the ID of a schema that is registered under its full name.
func (r *Registry) Lookup(ctx context.Context, schema avro.Schema) (int, error) {
	return r.ask(ctx, &r.lookups, schema, r.lookup)
}

func (r *Registry) lookup(ctx context.Context, subject string, s sr.Schema) (int, error) {
	found, err := r.client.LookupSchema(ctx, subject, s)
	return found.ID, r.explain(ctx, err, &SchemaError{Subject: subject, Problem: "is not registered in " + r.url})
}

// Register registers a schema under its full name and returns its ID. One that
// is registered keeps its ID. A refusal that is remembered is not: the registry
// is asked again.
func (r *Registry) Register(ctx context.Context, schema avro.Schema) (int, error) {
	r.unknown.drop(schema)
	return r.ask(ctx, &r.registers, schema, r.register)
}

func (r *Registry) register(ctx context.Context, subject string, s sr.Schema) (int, error) {
	id, err := r.client.RegisterSchema(ctx, subject, s, -1, -1)
	return id, r.explain(ctx, err, &SchemaError{Subject: subject, Problem: "was refused by " + r.url})
}

// ask asks for a schema's ID, unless the answer is known.
func (r *Registry) ask(
	ctx context.Context, calls *flight[avro.Schema, int], schema avro.Schema,
	question func(ctx context.Context, subject string, s sr.Schema) (int, error),
) (int, error) {
	if id, err := r.knownID(schema); id != 0 || err != nil {
		return id, err
	}
	named, ok := schema.(avro.NamedSchema)
	if !ok {
		return 0, &SchemaError{Subject: FullName(schema), Problem: "has no name to register it under"}
	}
	return calls.do(ctx, schema, r.timeout, func(ctx context.Context) (int, error) {
		if id, err := r.knownID(schema); id != 0 || err != nil {
			return id, err
		}
		text, err := SchemaText(schema)
		if err != nil {
			return 0, err
		}
		id, err := question(ctx, named.FullName(), sr.Schema{Schema: text})
		if err == nil && id <= 0 {
			err = r.noRegistry()
		}
		if err != nil {
			if _, ok := errors.AsType[*SchemaError](err); ok {
				now := r.clock.Now()
				r.unknown.put(schema, err, now, now.Add(r.negativeTTL))
			}
			return 0, err
		}
		r.ids.put(schema, id)
		if r.kept != nil {
			r.kept.keepID(text, id)
		}
		return id, nil
	})
}

func (r *Registry) knownID(schema avro.Schema) (int, error) {
	if id, ok := r.ids.get(schema); ok {
		return id, nil
	}
	return 0, r.unknown.get(schema, r.clock.Now())
}

// explain tells a registry's no, which is refusal with the registry's words,
// from the lack of an answer.
func (r *Registry) explain(ctx context.Context, err error, refusal *SchemaError) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		return &RegistryUnavailableError{URL: r.url, Err: err}
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		// Without the API's own code the path may be wrong, and then nothing
		// would ever be found: a sender must not pay for that.
		if answer.ErrorCode/100 == 404 || r.answers(ctx) {
			return refusal
		}
		return r.noRegistry()
	case http.StatusConflict, http.StatusUnprocessableEntity:
		refusal.Err = answer
		return refusal
	default:
		err = fmt.Errorf("it answers with status %d: %w", answer.StatusCode, answer)
	}
	return &RegistryUnavailableError{URL: r.url, Err: err}
}

// answers says whether the URL is that of a schema registry.
func (r *Registry) answers(ctx context.Context) bool {
	_, err := r.client.Subjects(ctx)
	return err == nil
}

func (r *Registry) noRegistry() error {
	return &RegistryUnavailableError{
		URL: r.url, Err: errors.New("it answers, but not as a schema registry: check the path in the URL"),
	}
}
