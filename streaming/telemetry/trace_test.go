package telemetry

import (
	"regexp"
	"strings"
	"testing"
)

// The grammar of version 00, with the flags that the specification names.
var wellFormed = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$`)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func TestChildOfAValidParent(t *testing.T) {
	t.Parallel()
	for in, flags := range map[string]string{
		"00-" + traceID + "-" + spanID + "-01":          "01",
		"00-" + traceID + "-" + spanID + "-00":          "00",
		"00-" + traceID + "-" + spanID + "-03":          "03", // level 2
		"00-" + traceID + "-" + spanID + "-ff":          "03", // reserved flags are sent as zero
		"cc-" + traceID + "-" + spanID + "-01":          "01", // a later version
		"cc-" + traceID + "-" + spanID + "-01-more.net": "01",
	} {
		got := Child(in)
		if !wellFormed.MatchString(got) {
			t.Errorf("%s: malformed child %s", in, got)
			continue
		}
		if got[3:35] != traceID || got[53:] != flags {
			t.Errorf("%s: child %s, want trace %s, flags %s", in, got, traceID, flags)
		}
		if got[36:52] == spanID {
			t.Errorf("%s: the span ID is the parent's", in)
		}
		if Child(in) == got {
			t.Errorf("%s: two children are equal", in)
		}
	}
}

func TestChildOfNone(t *testing.T) {
	t.Parallel()
	valid := "00-" + traceID + "-" + spanID + "-01"
	for _, in := range []string{
		"",
		"x",
		valid[:54],
		valid + "-more", // version 00 ends here
		valid + "0",
		"cc" + valid[2:] + "0", // a later version may only go on with a dash
		"ff" + valid[2:],
		"0g" + valid[2:],
		strings.ToUpper(valid),
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01",
		"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01",
		"00-" + traceID + "-" + spanID + "-0x",
		strings.ReplaceAll(valid, "-", "_"),
		" " + valid,
	} {
		a, b := Child(in), Child(in)
		if !wellFormed.MatchString(a) || !strings.HasSuffix(a, "-01") {
			t.Errorf("%q: root %s", in, a)
		}
		if a[3:35] == b[3:35] || a[3:35] == traceID {
			t.Errorf("%q: the trace ID is not new: %s", in, a)
		}
	}
}

func TestPropagate(t *testing.T) {
	t.Parallel()
	parent, state := Propagate("00-"+traceID+"-"+spanID+"-01", "vendor=1")
	if parent[3:35] != traceID || state != "vendor=1" {
		t.Errorf("got %s, %s", parent, state)
	}
	parent, state = Propagate("broken", "vendor=1")
	if !wellFormed.MatchString(parent) || state != "" {
		t.Errorf("a new root took the state of another trace: %s, %s", parent, state)
	}
}

func FuzzChild(f *testing.F) {
	f.Add("00-" + traceID + "-" + spanID + "-01")
	f.Add("")
	f.Fuzz(func(t *testing.T, in string) {
		if got := Child(in); !wellFormed.MatchString(got) {
			t.Errorf("%q: %s", in, got)
		}
	})
}

func BenchmarkChild(b *testing.B) {
	in := "00-" + traceID + "-" + spanID + "-01"
	b.ReportAllocs()
	for b.Loop() {
		Child(in)
	}
}
