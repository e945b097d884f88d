package schemas

import (
	"context"

	"github.com/hamba/avro/v2"
)

// AvroSchema is the library's schema, for packages that hand one on and do not
// look into it.
type AvroSchema = avro.Schema

// Open returns the schema that wrote a framed value, and its payload, which is a
// value of that schema within the limits. The payload shares memory with value.
// Errors are Decode's.
func (c *Codec) Open(ctx context.Context, value []byte) (writer AvroSchema, payload []byte, err error) {
	id, payload, err := ParseFrame(value)
	if err != nil {
		return nil, nil, err
	}
	if writer, err = c.schemas.Schema(ctx, id); err != nil {
		return nil, nil, err
	}
	p := c.plan(planKey{writer: writer})
	if p.err != nil {
		return nil, nil, p.err
	}
	if problem := p.walk.check(payload, &c.limits); problem != "" {
		return nil, nil, &DecodeError{Schema: p.name, Problem: problem}
	}
	return writer, payload, nil
}
