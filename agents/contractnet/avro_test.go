package contractnet_test

import (
	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// site is a task, and visit its result.
type site struct {
	Place string  `avro:"place"`
	Km    float64 `avro:"km"`
}

type visit struct {
	By string `avro:"by"`
}

var (
	siteSchema  = parsed(`{"type":"record","name":"test.Site","parley.type":"test.site","fields":[{"name":"place","type":"string"},{"name":"km","type":"double"}]}`)
	visitSchema = parsed(`{"type":"record","name":"test.Visit","parley.type":"test.visit","fields":[{"name":"by","type":"string"}]}`)
)

func parsed(text string) avro.Schema {
	schema, err := schemas.ParseSchema(text)
	if err != nil {
		panic(err)
	}
	return schema
}

func (site) Schema() avro.Schema  { return siteSchema }
func (visit) Schema() avro.Schema { return visitSchema }
