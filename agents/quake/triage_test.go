package quake

import "testing"

// TestSortWeek counts the classes of the real week.
func TestSortWeek(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for _, e := range week(t) {
		s := Sort(&e)
		got["size "+s.Size]++
		got["depth "+s.Depth]++
		got["level "+s.Level]++
		if s.Natural {
			got["natural"]++
		}
		if s.Level != LevelNone {
			got["dispatched"]++
		}
		if e.Tsunami {
			got["tsunami "+s.Level]++
		}
		if s.Size == "strong" || s.Size == "major" || s.Size == "great" {
			got["from 6"]++
		}
	}
	for what, want := range map[string]int{"natural": 1679, "dispatched": 85, "level none": 1707 - 85, "from 6": 5} {
		if got[what] != want {
			t.Errorf("%s: %d, want %d", what, got[what], want)
		}
	}
	if got["level advisory"]+got["level warning"]+got["level emergency"] != 85 || got["level emergency"] == 0 || got["level warning"] == 0 {
		t.Errorf("levels: %v", got)
	}
	t.Log(got)
}

func TestSort(t *testing.T) {
	t.Parallel()
	of := func(f float64) *float64 { return &f }
	for name, c := range map[string]struct {
		event Reported
		want  Sorted
	}{
		"no magnitude":     {Reported{Eventtype: "earthquake", Depth: of(1), Tsunami: true}, Sorted{"unknown", "shallow", true, LevelNone}},
		"negative":         {Reported{Eventtype: "earthquake", Magnitude: of(-0.5)}, Sorted{"micro", "unknown", true, LevelNone}},
		"just below":       {Reported{Eventtype: "earthquake", Magnitude: of(4.49), Depth: of(10)}, Sorted{"light", "shallow", true, LevelNone}},
		"at the limit":     {Reported{Eventtype: "earthquake", Magnitude: of(4.5), Depth: of(69.9)}, Sorted{"light", "shallow", true, LevelAdvisory}},
		"tsunami":          {Reported{Eventtype: "earthquake", Magnitude: of(4.6), Depth: of(70), Tsunami: true}, Sorted{"light", "intermediate", true, LevelWarning}},
		"shallow moderate": {Reported{Eventtype: "earthquake", Magnitude: of(5.5), Depth: of(10)}, Sorted{"moderate", "shallow", true, LevelWarning}},
		"deep moderate":    {Reported{Eventtype: "earthquake", Magnitude: of(5.9), Depth: of(300)}, Sorted{"moderate", "deep", true, LevelAdvisory}},
		"deep strong":      {Reported{Eventtype: "earthquake", Magnitude: of(6.5), Depth: of(600)}, Sorted{"strong", "deep", true, LevelWarning}},
		"shallow strong":   {Reported{Eventtype: "earthquake", Magnitude: of(6), Depth: of(10)}, Sorted{"strong", "shallow", true, LevelEmergency}},
		"strong explosion": {Reported{Eventtype: "nuclear explosion", Magnitude: of(6.3), Depth: of(0)}, Sorted{"strong", "shallow", false, LevelWarning}},
		"great":            {Reported{Eventtype: "earthquake", Magnitude: of(9.1), Depth: of(400)}, Sorted{"great", "deep", true, LevelEmergency}},
	} {
		if got := Sort(&c.event); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
