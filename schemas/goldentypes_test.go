package schemas

import (
	"math/big"
	"time"

	"github.com/hamba/avro/v2"
)

// goldenReport has each type that Avro has, and the logical types but duration.
type goldenReport struct {
	Flag    bool               `avro:"flag"`
	Count   int32              `avro:"count"`
	Total   int64              `avro:"total"`
	Ratio   float32            `avro:"ratio"`
	Depth   float64            `avro:"depth"`
	Raw     []byte             `avro:"raw"`
	Text    string             `avro:"text"`
	Level   string             `avro:"level"`
	Hash    [4]byte            `avro:"hash"`
	Numbers []int64            `avro:"numbers"`
	Rates   map[string]float64 `avro:"rates"`
	Maybe   *string            `avro:"maybe"`
	Any     any                `avro:"any"`
	Point   goldenPoint        `avro:"point"`
	Points  []goldenPoint      `avro:"points"`
	Price   *big.Rat           `avro:"price"`
	Millis  time.Time          `avro:"millis"`
	Micros  time.Time          `avro:"micros"`
	Day     time.Time          `avro:"day"`
	Clock   time.Duration      `avro:"clock"`
	UUID    string             `avro:"uuid"`
	Tree    *goldenTree        `avro:"tree"`
}

type goldenPoint struct {
	X int32 `avro:"x"`
}

type goldenTree struct {
	Left *goldenTree `avro:"left"`
	V    int32       `avro:"v"`
}

var goldenReportSchema = mustParse(`{"type":"record","name":"test.Report","parley.type":"test.report","fields":[
	{"name":"flag","type":"boolean"},{"name":"count","type":"int"},{"name":"total","type":"long"},{"name":"ratio","type":"float"},
	{"name":"depth","type":"double"},{"name":"raw","type":"bytes"},{"name":"text","type":"string"},
	{"name":"level","type":{"type":"enum","name":"Level","symbols":["LOW","HIGH"]}},
	{"name":"hash","type":{"type":"fixed","name":"Hash","size":4}},
	{"name":"numbers","type":{"type":"array","items":"long"}},
	{"name":"rates","type":{"type":"map","values":"double"}},
	{"name":"maybe","type":["null","string"]},
	{"name":"any","type":["null","long","string"]},
	{"name":"point","type":{"type":"record","name":"Point","fields":[{"name":"x","type":"int"}]}},
	{"name":"points","type":{"type":"array","items":"Point"}},
	{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
	{"name":"millis","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
	{"name":"day","type":{"type":"int","logicalType":"date"}},
	{"name":"clock","type":{"type":"int","logicalType":"time-millis"}},
	{"name":"uuid","type":{"type":"string","logicalType":"uuid"}},
	{"name":"tree","type":["null",{"type":"record","name":"Tree","fields":[
		{"name":"left","type":["null","Tree"]},{"name":"v","type":"int"}]}]}
]}`)

func (goldenReport) Schema() avro.Schema { return goldenReportSchema }

// goldenNote is a message of an agent.
type goldenNote struct {
	Text    string   `avro:"text"`
	Tags    []string `avro:"tags"`
	Urgency *int32   `avro:"urgency"`
}

var goldenNoteSchema = mustParse(`{"type":"record","name":"test.Note","doc":"Note is a message of an agent.","parley.type":"test.note","fields":[
	{"name":"text","type":"string"},{"name":"tags","type":{"type":"array","items":"string"}},
	{"name":"urgency","type":["null","int"],"default":null,"doc":"The newer version's."}]}`)

func (goldenNote) Schema() avro.Schema { return goldenNoteSchema }

// newGoldenType returns a new value of the type with that full name, or nil.
func newGoldenType(name string) Message {
	for _, m := range []Message{
		new(goldenReport), new(goldenNote), new(Ack), new(ErrorReply), new(AgentStop), new(AgentControl), new(AgentContract), new(AgentInstance), new(LedgerEntry),
		new(RouteSet), new(Ask),
	} {
		if FullName(m.Schema()) == name {
			return m
		}
	}
	return nil
}
