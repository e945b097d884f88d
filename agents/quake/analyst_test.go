package quake

import "testing"

func TestIntensity(t *testing.T) {
	t.Parallel()
	of := func(f float64) *float64 { return &f }
	for _, c := range []struct {
		magnitude float64
		depth     *float64
		want      int
	}{
		{4.5, of(10), 6}, {6, of(10), 9}, {6, nil, 9}, {6, of(0), 9}, {6, of(-3), 9}, {6.4, of(550), 3}, {9.5, of(1), 12}, {-1, of(600), 1},
	} {
		if got := Intensity(c.magnitude, c.depth); got != c.want {
			t.Errorf("magnitude %v: %d, want %d", c.magnitude, got, c.want)
		}
	}
}
