package schemas

import (
	"strings"
	"testing"
)

func TestLevels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		level                         Level
		backward, forward, transitive bool
	}{
		{LevelNone, false, false, false},
		{LevelBackward, true, false, false},
		{LevelBackwardTransitive, true, false, true},
		{LevelForward, false, true, false},
		{LevelForwardTransitive, false, true, true},
		{LevelFull, true, true, false},
		{LevelFullTransitive, true, true, true},
	} {
		parsed, err := ParseLevel(strings.ToLower(string(c.level)))
		if err != nil || parsed != c.level {
			t.Errorf("%s is parsed as %s, %v", c.level, parsed, err)
		}
		if c.level.Backward() != c.backward || c.level.Forward() != c.forward || c.level.Transitive() != c.transitive {
			t.Errorf("%s: %t, %t, %t", c.level, c.level.Backward(), c.level.Forward(), c.level.Transitive())
		}
	}
	for _, s := range []string{"", "SIDEWARD", "NONE_TRANSITIVE"} {
		if l, err := ParseLevel(s); err == nil {
			t.Errorf("%q is the level %s", s, l)
		}
	}
}
