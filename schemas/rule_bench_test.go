package schemas

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// ruledQuake has the size of what the example sends, and five rules.
type ruledQuake struct {
	Eventid   string    `avro:"eventid"`
	Magnitude *float64  `avro:"magnitude"`
	Place     string    `avro:"place"`
	Time      time.Time `avro:"time"`
	Updated   time.Time `avro:"updated"`
	Longitude float64   `avro:"longitude"`
	Latitude  float64   `avro:"latitude"`
	Tsunami   bool      `avro:"tsunami"`
	Weight    int32     `avro:"significance"`
}

// plainQuake is the same without rules.
type plainQuake ruledQuake

const ruledQuakeText = `{"type":"record","name":"test.Quake","parley.type":"test.quake",
	"parley.rules":[{"id":"updated-after","expression":"this.updated >= this.time"}],"fields":[
	{"name":"eventid","type":"string","parley.rules":[{"id":"id","expression":"this.matches('^[a-z]{2}[0-9a-z]+$')"}]},
	{"name":"magnitude","type":["null","double"],"default":null,"parley.rules":[{"id":"range","expression":"this > -3 && this < 11"}]},
	{"name":"place","type":"string"},
	{"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"updated","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"longitude","type":"double","parley.rules":[{"id":"degrees","expression":"this >= -180 && this <= 180"}]},
	{"name":"latitude","type":"double","parley.rules":[{"id":"degrees","expression":"this >= -90 && this <= 90"}]},
	{"name":"tsunami","type":"boolean"},{"name":"significance","type":"int"}]}`

var (
	ruledQuakeSchema = mustParse(ruledQuakeText)
	plainQuakeSchema = mustParse(strings.ReplaceAll(ruledQuakeText, RulesProperty, "test.rules"))
)

func (ruledQuake) Schema() avro.Schema { return ruledQuakeSchema }
func (plainQuake) Schema() avro.Schema { return plainQuakeSchema }

func sampleQuake() ruledQuake {
	m := 4.5
	at := time.UnixMilli(1517961600000).UTC()
	return ruledQuake{
		Eventid: "us1000chhc", Magnitude: &m, Place: "18km NNE of Hualian, Taiwan", Time: at, Updated: at.Add(time.Hour),
		Longitude: 121.6, Latitude: 24.1, Weight: 312,
	}
}

func BenchmarkRules(b *testing.B) {
	ctx := context.Background()
	codec := NewCodec(NewMemoryRegistry())
	ruled := sampleQuake()
	plain := plainQuake(ruled)
	ruledValue, err := codec.Encode(ctx, &ruled)
	if err != nil {
		b.Fatal(err)
	}
	plainValue, err := codec.Encode(ctx, &plain)
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("encode without", func() error { _, err := codec.Encode(ctx, &plain); return err })
	run("encode with", func() error { _, err := codec.Encode(ctx, &ruled); return err })
	var intoPlain plainQuake
	run("decode without", func() error { return codec.Decode(ctx, plainValue, &intoPlain, "") })
	var intoRuled ruledQuake
	run("decode with", func() error { return codec.Decode(ctx, ruledValue, &intoRuled, "") })

	// What the values that rules look at can be made of: the bytes, or what the
	// decoder makes of them.
	typ, err := expr.NewTypes().Of(ruledQuakeSchema)
	if err != nil {
		b.Fatal(err)
	}
	run("values from bytes", func() error { _, err := typ.Read(ruledValue[frameSize:]); return err })
	p := codec.plan(planKey{writer: plainQuakeSchema})
	run("values from the decoder", func() error {
		var v any
		return codec.read(p, plainValue[frameSize:], &v)
	})
}
