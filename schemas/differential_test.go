package schemas

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hamba/avro/v2"
	peer "github.com/twmb/avro"
)

var (
	pairsFlag = flag.Int("pairs", 20_000, "schemas with a value that TestAgreesWithPeer compares")
	seedFlag  = flag.Uint64("seed", 0, "seed of TestAgreesWithPeer; 0: a new one")
)

// A seed draws a batch: a few schemas, which one codec knows as a worker's
// does, values of each, and broken bytes of each value.
const (
	structuresPerBatch = 2
	variantsPerBatch   = 2 // of a structure, with other logical types
	valuesPerSchema    = 5
	pairsPerBatch      = structuresPerBatch * variantsPerBatch * valuesPerSchema
	mutantsPerValue    = 3
)

// A difference is a class of inputs that we refuse and the peer takes.
type difference struct {
	name     string
	problems []string // what the walk says
	limit    bool     // valid bytes may be of this class, too
	// holds says by what the peer has read that the input is of this class.
	holds func(p *pair, input []byte, theirs any) bool
}

// differences are all that are known; each is meant.
func differences() []difference {
	return []difference{
		{
			// The specification has 0 and 1. The peer takes all else for false, as
			// Java does.
			name:     "boolean neither 0 nor 1",
			problems: []string{"a boolean is neither 0 nor 1"},
			holds:    (*pair).onlyForm,
		},
		{
			// A reader that skips by the size would find another value than one that
			// reads the items. The peer does not look at it.
			name:     "size of a block is not that of its items",
			problems: []string{"a block's size is more than what is left", "a block's size is not that of its items"},
			holds:    (*pair).onlyForm,
		},
		{
			// The specification has UTF-8. The peer gives the bytes away as they are.
			name:     "string not UTF-8",
			problems: []string{"a string is not UTF-8"},
			holds: func(p *pair, _ []byte, theirs any) bool {
				return p.some(theirs, func(s *shape, v any, _ int) bool {
					switch v := v.(type) {
					case string:
						return !utf8.ValidString(v)
					case map[string]any:
						for k := range v {
							if !utf8.ValidString(k) {
								return true
							}
						}
					}
					return false
				})
			},
		},
		{
			// The schema's precision is a promise to those who store the number. The
			// peer does not check it when it reads.
			name:     "decimal of more digits than its precision",
			problems: []string{"a decimal has more digits than its precision"},
			holds:    func(p *pair, _ []byte, theirs any) bool { return p.some(theirs, tooManyDigits) },
		},
		{
			// Limits.MaxDepth. The peer's limit is 1,000.
			name:     "nested deeper than the limit",
			problems: []string{"nested too deep"},
			limit:    true,
			holds: func(p *pair, _ []byte, theirs any) bool {
				return p.some(theirs, func(s *shape, _ any, depth int) bool {
					composite := s.kind == "record" || s.kind == "array" || s.kind == "map" || s.kind == "union"
					return composite && depth >= Limits{}.withDefaults().MaxDepth
				})
			},
		},
		{
			// Limits.MaxZeroWidth is for a value, the peer's limit for an array.
			name:     "more items without bytes than the limit",
			problems: []string{"too many items that take no byte"},
			limit:    true,
			holds: func(p *pair, _ []byte, theirs any) bool {
				items := 0
				eachPart(p.shape, theirs, 0, func(s *shape, v any, _ int) {
					if s.kind == "array" && s.parts[0].zeroWidth() {
						items += len(v.([]any))
					}
				})
				return items > Limits{}.withDefaults().MaxZeroWidth
			},
		},
	}
}

// TestAgreesWithPeer compares what we and another Avro library make of the
// same bytes: both refuse them, or both read the same value.
func TestAgreesWithPeer(t *testing.T) {
	// The decoder reads a local timestamp by way of the machine's zone, and is an
	// hour off where that zone's clock changes.
	zone := time.Local
	t.Cleanup(func() { time.Local = zone })
	time.Local = time.UTC
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	first, start := seed, time.Now()
	counts := map[string]int{}
	for left := *pairsFlag; left > 0 && !t.Failed(); left -= pairsPerBatch {
		compareBatch(t, seed, counts)
		seed++
	}
	t.Logf("%d pairs in %v, seeds %d to %d", *pairsFlag, time.Since(start).Round(time.Millisecond), first, seed-1)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%9d %s", counts[name], name)
	}
}

// schemaList is a registry of schemas by their place.
type schemaList []avro.Schema

func (l schemaList) Schema(_ context.Context, id int) (avro.Schema, error) { return l[id], nil }
func (l schemaList) ID(context.Context, avro.Schema) (int, error)          { return 0, errors.New("not here") }

// pair is a schema as all three sides have it.
type pair struct {
	shape *shape
	text  string
	codec *Codec
	id    int
	peer  *peer.Schema
}

// compareBatch compares what a seed draws and counts what became of it.
func compareBatch(t *testing.T, seed uint64, counts map[string]int) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Logf("seed %d", seed)
			panic(p)
		}
	}()
	pairs := drawPairs(t, seed)
	g := &valueSource{Rand: rand.New(rand.NewPCG(seed, 0))}
	for range valuesPerSchema {
		for _, p := range pairs {
			valid, err := p.peer.Encode(g.draw(p.shape))
			if err != nil {
				t.Fatalf("seed %d: the peer does not encode a value of %s: %v", seed, p.text, err)
			}
			check := func(what string, isValid bool, input []byte) {
				class, unclassified := p.compare(input)
				if isValid && unclassified == "" && class != agreed && !isLimit(class) {
					unclassified = class
				}
				if unclassified != "" {
					t.Fatalf("%s: %s\nschema %s\nbytes %x\nreplay: go test ./schemas -run TestAgreesWithPeer -pairs %d -seed %d",
						what, clip(unclassified, maxProblem), p.text, input, pairsPerBatch, seed)
				}
				counts[what+": "+class]++
			}
			check("valid bytes", true, valid)
			check("valid bytes of another form", true, g.otherForm(p.shape, valid))
			for range mutantsPerValue {
				if m := g.mutate(valid); !bytes.Equal(m, valid) {
					check("broken bytes", false, m)
				}
			}
		}
	}
}

// drawPairs returns the schemas of a batch, which one codec knows.
func drawPairs(t *testing.T, seed uint64) []*pair {
	t.Helper()
	var list schemaList
	var pairs []*pair
	for i := range uint64(structuresPerBatch * variantsPerBatch) {
		structure, variant := i/variantsPerBatch, i%variantsPerBatch
		p := &pair{shape: newSchemaSource(seed+structure<<32, variant).root(), id: len(list)}
		p.text = p.shape.text()
		ours, err := ParseSchema(p.text)
		if err != nil {
			t.Fatalf("seed %d: we do not parse %s: %v", seed, p.text, err)
		}
		if p.peer, err = peer.Parse(p.text); err != nil {
			t.Fatalf("seed %d: the peer does not parse %s: %v", seed, p.text, err)
		}
		list = append(list, ours)
		pairs = append(pairs, p)
	}
	codec := NewCodec(list)
	for _, p := range pairs {
		p.codec = codec
	}
	return pairs
}

// agreed is the class of inputs of which both read the same value.
const agreed = "agreed on value"

func isLimit(class string) bool {
	return slices.ContainsFunc(differences(), func(d difference) bool { return d.limit && class == d.class() })
}

func (d *difference) class() string { return "we refuse: " + d.name }

// compare returns what became of one input: the two agree, or differ as a
// class does, or as none does.
func (p *pair) compare(input []byte) (class, unclassified string) {
	_, ours, ourErr := p.codec.DecodeAny(context.Background(), AppendFrame(nil, p.id, input))
	theirs, theirErr := p.read(input)
	switch {
	case ourErr != nil && theirErr != nil:
		return "agreed on error", ""
	case theirErr != nil:
		return "", fmt.Sprintf("we read %v, the peer says %v", ours, theirErr)
	case ourErr != nil:
		for _, d := range differences() {
			if !d.says(ourErr) {
				continue
			}
			// What we refuse may be in a map's entry that the peer has replaced.
			if d.holds(p, input, theirs) || repeatsKey(p.shape, input) && p.onlyForm(input, theirs) {
				return d.class(), ""
			}
		}
		return "", fmt.Sprintf("we say %v, the peer reads %v", ourErr, theirs)
	}
	if d := unlike(p.shape, ours, theirs); d != "" {
		return "", "the values differ at value" + d
	}
	return agreed, ""
}

// read is the peer's reading of all of the bytes.
func (p *pair) read(input []byte) (v any, err error) {
	rest, err := p.peer.Decode(input, &v, peer.TaggedUnions())
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes follow the value")
	}
	return v, err
}

func (d *difference) says(err error) bool {
	e, ok := errors.AsType[*DecodeError](err)
	return ok && slices.ContainsFunc(d.problems, func(problem string) bool { return strings.HasSuffix(e.Problem, problem) })
}

// some says whether f holds for some part of a value.
func (p *pair) some(theirs any, f func(s *shape, v any, depth int) bool) bool {
	found := false
	eachPart(p.shape, theirs, 0, func(s *shape, v any, depth int) { found = found || f(s, v, depth) })
	return found
}

// onlyForm says that it is only the form of an input which we refuse: written
// anew by the peer its value has other bytes, on which the two agree, but for
// another class.
func (p *pair) onlyForm(input []byte, theirs any) bool {
	again, err := p.peer.Encode(theirs)
	if err != nil {
		return p.some(theirs, tooManyDigits) // these the peer does not write
	}
	if bytes.Equal(again, input) {
		return false
	}
	_, unclassified := p.compare(again)
	return unclassified == ""
}

func tooManyDigits(s *shape, v any, _ int) bool {
	r, ok := v.(*big.Rat)
	if !ok {
		return false
	}
	power := func(n int) *big.Rat {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	}
	return new(big.Rat).Abs(r).Cmp(new(big.Rat).Quo(power(s.precision), power(s.scale))) >= 0
}
