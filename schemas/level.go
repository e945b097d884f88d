package schemas

import (
	"fmt"
	"slices"
	"strings"
)

// Level is a compatibility level of a schema registry: who has to read whose
// messages when a schema changes.
type Level string

// The levels, under the names of Confluent's API.
const (
	LevelNone               Level = "NONE"
	LevelBackward           Level = "BACKWARD"
	LevelBackwardTransitive Level = "BACKWARD_TRANSITIVE"
	LevelForward            Level = "FORWARD"
	LevelForwardTransitive  Level = "FORWARD_TRANSITIVE"
	LevelFull               Level = "FULL"
	LevelFullTransitive     Level = "FULL_TRANSITIVE"
)

var levels = []Level{
	LevelNone, LevelBackward, LevelBackwardTransitive, LevelForward, LevelForwardTransitive, LevelFull, LevelFullTransitive,
}

// ParseLevel reads a level's name, in any case.
func ParseLevel(s string) (Level, error) {
	l := Level(strings.ToUpper(s))
	if !slices.Contains(levels, l) {
		return "", fmt.Errorf("%s is not a compatibility level; there are NONE, BACKWARD, FORWARD and FULL, and the last three with _TRANSITIVE", quote([]byte(s)))
	}
	return l, nil
}

// Backward says whether the new schema has to read what older ones wrote.
func (l Level) Backward() bool {
	return strings.HasPrefix(string(l), string(LevelBackward)) || l.full()
}

// Forward says whether older schemas have to read what the new one writes.
func (l Level) Forward() bool {
	return strings.HasPrefix(string(l), string(LevelForward)) || l.full()
}

func (l Level) full() bool { return strings.HasPrefix(string(l), string(LevelFull)) }

// Transitive says whether all older versions count, and not the latest alone.
func (l Level) Transitive() bool { return strings.HasSuffix(string(l), "_TRANSITIVE") }
