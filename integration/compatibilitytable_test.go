//go:build integration

package integration

import "github.com/seed-c9b6dc07/parley/schemas"

// difference is a change and the level at which Apicurio judges it otherwise. FULL follows from the other two.
type difference struct {
	change string
	level  schemas.Level
}

// apicurioDiffers has why Apicurio 3.3.3 judges changes otherwise than schemas.Unreadable and the embedded registry.
var apicurioDiffers = map[difference]string{
	{"another unit of time", schemas.LevelBackward}: unitsIgnored,
	{"another unit of time", schemas.LevelForward}:  unitsIgnored,
	{"another scale", schemas.LevelBackward}:        scaleIgnored,
	{"another scale", schemas.LevelForward}:         scaleIgnored,

	{"field moved by an alias that is taken", schemas.LevelBackward}: "it renames the old field a to b by the alias, has two " +
		"fields b then, and calls the schema invalid. Ours takes a field's own name first: b is b, and a is passed over",
}

const (
	unitsIgnored = "it compares the types below logical ones only, and takes milliseconds for microseconds. The specification " +
		"leaves that to implementations; ours refuses, as each value would be wrong a thousandfold"
	scaleIgnored = "it compares the types below logical ones only. By the specification decimals match where their scales " +
		"do: else 1.25 is read as 0.125"
)

const (
	onlyText     = `{"type":"record","name":"test.R","fields":[{"name":"text","type":"string"}]}`
	withStars    = `{"type":"record","name":"test.R","fields":[{"name":"text","type":"string"},{"name":"stars","type":"int"}]}`
	defaultStars = `{"type":"record","name":"test.R","fields":[{"name":"text","type":"string"},{"name":"stars","type":"int","default":0}]}`
	longStars    = `{"type":"record","name":"test.R","fields":[{"name":"text","type":"string"},{"name":"stars","type":"long","default":0}]}`
)

var everyLevel = []schemas.Level{
	schemas.LevelBackward, schemas.LevelBackwardTransitive, schemas.LevelForward, schemas.LevelForwardTransitive, schemas.LevelFull, schemas.LevelFullTransitive,
}

// moreSteps are where it matters whether all versions count or the latest alone.
var moreSteps = []evolved{
	{"a default is gone after a step", []string{onlyText, defaultStars, withStars}, everyLevel},
	{"a field is gone after its default came", []string{withStars, defaultStars, onlyText}, everyLevel},
	{"a type is wider after a step", []string{withStars, onlyText, longStars}, everyLevel},
	{"a field comes back with another type", []string{withStars, onlyText, `{"type":"record","name":"test.R","fields":[{"name":"text","type":"string"},{"name":"stars","type":"string","default":""}]}`}, everyLevel},
}
