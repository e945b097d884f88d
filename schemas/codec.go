package schemas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/rules"
)

// Schemas is where a codec finds schemas: Registry, or MemoryRegistry in
// tests. Answers are cheap once known. The schema of an ID never changes.
type Schemas interface {
	// Schema returns the schema of an ID. An unknown ID is a *SchemaError.
	Schema(ctx context.Context, id int) (avro.Schema, error)
	// ID returns the ID of a schema. An unknown schema is a *SchemaError.
	ID(ctx context.Context, schema avro.Schema) (int, error)
}

// Codec encodes and decodes payloads. All Avro bytes of the platform go
// through it: the decoder beneath accepts cut and hostile input, so each
// payload is first walked by its writer's schema, and what the decoder then
// says is checked again.
type Codec struct {
	schemas Schemas
	limits  Limits
	api     avro.API
	readers sync.Pool // *avro.Reader
	writers sync.Pool // *avro.Writer
	plans   cowMap[planKey, *plan]
}

// CodecOption sets up a Codec.
type CodecOption func(*Codec)

// WithLimits bounds what a value may cost to decode.
func WithLimits(l Limits) CodecOption {
	return func(c *Codec) { c.limits = l }
}

// NewCodec returns a codec over a registry.
func NewCodec(schemas Schemas, opts ...CodecOption) *Codec {
	c := &Codec{schemas: schemas}
	for _, opt := range opts {
		opt(c)
	}
	c.limits = c.limits.withDefaults()
	c.plans.limit = maxPlans
	// The walk bounds all of this already; these caps are the second line.
	c.api = avro.Config{
		MaxByteSliceSize:  c.limits.MaxBytes,
		MaxSliceAllocSize: c.limits.MaxItems,
		// One block without its size is the shortest form, and the one that
		// every reader knows.
		BlockLength:            c.limits.MaxItems,
		DisableBlockSizeHeader: true,
	}.Freeze()
	c.readers.New = func() any { return avro.NewReader(nil, 0, avro.WithReaderConfig(c.api)) }
	c.writers.New = func() any { return avro.NewWriter(nil, 512, avro.WithWriterConfig(c.api)) }
	return c
}

// maxPlans bounds the pairs of writer and reader schema that a codec
// remembers. Each plan can be made again.
const maxPlans = 4096

// planKey is a writer's and a reader's schema; without a reader's the value is
// decoded as it was written. What is sent is held to the writer's rules, what is
// read to the reader's.
type planKey struct {
	writer, reader avro.Schema
	sending        bool
}

// plan is how to decode what one schema wrote with another.
type plan struct {
	name string // of the writer's schema
	typ  string // that the writer's schema names
	walk *walkPlan
	read avro.Schema // the reader's, if there is one
	err  error       // *SchemaError where the two do not fit

	resolution *resolution // where the two differ
	rules      *rules.Set  // nil where there are none
}

// Encode returns v, framed. What it returns Decode accepts. A schema that the
// registry does not know, or whose rules cannot be used, is a *SchemaError; a
// value that breaks a rule a *RuleError; one that is not of its schema, or
// larger than the limits, an error without a reason of its own.
func (c *Codec) Encode(ctx context.Context, v Message) (value []byte, err error) {
	defer func() {
		if e := recover(); e != nil {
			value, err = nil, fmt.Errorf("encode %T: %v", v, e)
		}
	}()
	schema := v.Schema()
	id, err := c.schemas.ID(ctx, schema)
	if err != nil {
		return nil, err
	}
	p := c.plan(planKey{writer: schema, sending: true})
	if p.err != nil {
		return nil, p.err
	}
	w := c.writers.Get().(*avro.Writer)
	w.Reset(nil)
	var header [frameSize]byte
	_, _ = w.Write(AppendFrame(header[:0], id, nil))
	w.WriteVal(schema, v)
	if w.Error != nil {
		return nil, fmt.Errorf("encode %s: %w", p.name, w.Error)
	}
	framed := w.Buffer()
	if problem := p.walk.check(framed[frameSize:], &c.limits); problem != "" {
		return nil, fmt.Errorf("encode %s: the result cannot be decoded: %s", p.name, problem)
	}
	if p.rules != nil {
		if err := p.follow(framed[frameSize:]); err != nil {
			return nil, err
		}
	}
	value = slices.Clone(framed)
	// After an error or a panic the writer goes to the collector instead.
	if cap(framed) <= maxPooled {
		c.writers.Put(w)
	}
	return value, nil
}

// maxPooled is the largest buffer that is kept for the next value.
const maxPooled = 64 << 10

// Decode fills into, a pointer to a generated type, with a framed value. What
// another version of the schema wrote is resolved to into's own, and held to the
// rules of that: one that it breaks is a *RuleError. Where wantType and the
// writer's TypeProperty are both set they have to agree, else the error is a
// *ContractError. Errors of ErrorReason's set are the value's fault; after
// any error into holds its zero value. The result shares no memory with value.
func (c *Codec) Decode(ctx context.Context, value []byte, into any, wantType string) error {
	m, ok := into.(Message)
	dst := reflect.ValueOf(into)
	if !ok || dst.Kind() != reflect.Pointer || dst.IsNil() {
		return fmt.Errorf("decode: %T is not a pointer to a generated type", into)
	}
	// The decoder adds to maps and keeps what a value does not set.
	dst.Elem().SetZero()
	id, payload, err := ParseFrame(value)
	if err != nil {
		return err
	}
	writer, err := c.schemas.Schema(ctx, id)
	if err != nil {
		return err
	}
	p := c.plan(planKey{writer: writer, reader: m.Schema()})
	if wantType != "" && p.typ != "" && p.typ != wantType {
		return &ContractError{Header: HeaderType, Problem: fmt.Sprintf(
			"is %s, but the schema of the value, %s, is of type %s", quote([]byte(wantType)), p.name, quote([]byte(p.typ)))}
	}
	if p.err != nil {
		return p.err
	}
	if err := c.read(p, payload, into); err != nil {
		dst.Elem().SetZero()
		return err
	}
	return nil
}

// DecodeAny decodes a framed value by its writer's schema alone, for tools:
// the schema's full name, and the value as json.Marshal takes it. Records and
// maps are map[string]any, a union's named branch is a map from its name, fixed
// and bytes are text (see plainBytes), times are time.Time; a local timestamp's
// clock is that of UTC.
func (c *Codec) DecodeAny(ctx context.Context, value []byte) (fullName string, v any, err error) {
	id, payload, err := ParseFrame(value)
	if err != nil {
		return "", nil, err
	}
	writer, err := c.schemas.Schema(ctx, id)
	if err != nil {
		return "", nil, err
	}
	p := c.plan(planKey{writer: writer})
	if p.err != nil {
		return p.name, nil, p.err
	}
	if err := c.read(p, payload, &v); err != nil {
		return p.name, nil, err
	}
	return p.name, plain(v), nil
}

// read decodes one payload. The order matters: the walk first, then the
// decoder with its error, then the end of input, which the decoder does not
// check itself, and the rules last, as they are about values.
func (c *Codec) read(p *plan, payload []byte, into any) (err error) {
	if problem := p.walk.check(payload, &c.limits); problem != "" {
		return &DecodeError{Schema: p.name, Problem: problem}
	}
	if p.resolution != nil {
		var problem string
		if payload, problem = p.resolution.rewrite(payload, &c.limits); problem != "" {
			return &SchemaError{Subject: p.name, Problem: "a value cannot be read as " + FullName(p.read) + ": " + problem}
		}
	}
	r := c.readers.Get().(*avro.Reader)
	defer func() {
		if e := recover(); e != nil {
			err = p.unreadable(fmt.Errorf("the decoder failed: %v", e))
			return // the reader is in an unknown state: leave it to the collector
		}
		r.Reset(nil)
		r.Error = nil
		c.readers.Put(r)
	}()
	r.Reset(payload)
	r.ReadVal(p.read, into)
	if r.Error != nil {
		return p.unreadable(r.Error)
	}
	r.Peek()
	if !errors.Is(r.Error, io.EOF) {
		return &DecodeError{Schema: p.name, Problem: "bytes follow the value"}
	}
	if p.rules != nil {
		return p.follow(payload)
	}
	return nil
}

// unreadable is the error for a payload that the decoder does not take though
// the walk has found it to be of its writer's schema: where two schemas meet,
// it is they that do not fit.
func (p *plan) unreadable(err error) error {
	if p.resolution != nil {
		return &SchemaError{Subject: p.name, Problem: "a value cannot be read with the reader's schema", Err: err}
	}
	return &DecodeError{Schema: p.name, Problem: "the decoder does not take the value", Err: err}
}

// plan returns how to decode what key.writer wrote. Schemas are compared by
// pointer: a registry returns the same one for the same ID.
func (c *Codec) plan(key planKey) *plan {
	if p, ok := c.plans.get(key); ok {
		return p
	}
	p := newPlan(key)
	p.addRules(key, c.limits.MaxRuleCost)
	c.plans.put(key, p)
	return p
}

func newPlan(key planKey) *plan {
	p := &plan{name: FullName(key.writer), typ: MessageType(key.writer), read: key.writer}
	var err error
	if p.walk, err = newWalkPlan(key.writer); err != nil {
		p.err = &SchemaError{Subject: p.name, Problem: "cannot be decoded", Err: err}
		return p
	}
	if key.reader == nil {
		return p
	}
	p.read = key.reader
	if key.writer.Fingerprint() == key.reader.Fingerprint() && len(Unreadable(key.reader, key.writer)) == 0 {
		return p
	}
	p.resolution, p.err = resolve(key.writer, key.reader)
	if p.err != nil {
		p.err = &SchemaError{Subject: p.name, Problem: "cannot be read as " + FullName(key.reader), Err: p.err}
	}
	return p
}
