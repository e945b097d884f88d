package schemas

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
)

// maxFuzzHeap is what one input may make the heap grow by, and what may be left of
// all inputs together.
const maxFuzzHeap = 64 << 20

var fuzzReport = flag.String("fuzzreport", "", "file that each process of a fuzz run adds a line to: inputs, and bytes of the heap")

// heapWatch holds a fuzz target to maxFuzzHeap. It is for one goroutine.
type heapWatch struct {
	Inputs   int
	MostMade uint64 // bytes allocated for one input: the heap cannot have grown by more
	MostHeld uint64 // bytes that the heap held more than at first, garbage included
	Left     uint64 // of them after the last input, without garbage

	base, last uint64 // what is not the inputs', and the heap after the last one
	samples    []metrics.Sample
}

// watchHeap reports at the end of a target where a file for it is named.
func watchHeap(f *testing.F) *heapWatch {
	w := &heapWatch{samples: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}}
	runtime.GC()
	_, w.base = w.read()
	w.last = w.base
	f.Cleanup(func() {
		if *fuzzReport == "" || w.Inputs == 0 {
			return
		}
		runtime.GC()
		_, held := w.read()
		w.Left = held - min(held, w.base)
		out, err := os.OpenFile(*fuzzReport, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			f.Fatal(err)
		}
		line, _ := json.Marshal(w)
		_, err = fmt.Fprintf(out, "%s %s\n", f.Name(), line)
		if err := errors.Join(err, out.Close()); err != nil {
			f.Fatal(err)
		}
	})
	return w
}

func (w *heapWatch) read() (made, held uint64) {
	metrics.Read(w.samples)
	return w.samples[0].Value.Uint64(), w.samples[1].Value.Uint64()
}

// input is deferred around what is done with one input:
//
//	defer heap.input(t)()
func (w *heapWatch) input(t *testing.T) (done func()) {
	before, found := w.read()
	if found > w.last+engineBuffer {
		w.base += found - w.last
	}
	return func() {
		made, held := w.read()
		made -= before
		w.Inputs++
		w.last = held
		w.MostMade = max(w.MostMade, made)
		w.MostHeld = max(w.MostHeld, held-min(held, w.base))
		if made > maxFuzzHeap {
			t.Errorf("the input has made the heap grow by up to %d bytes, allowed are %d", made, maxFuzzHeap)
		}
		if held > w.base+maxFuzzHeap { // garbage is not meant
			runtime.GC()
			if _, held = w.read(); held > w.base+maxFuzzHeap {
				t.Errorf("%d inputs have left %d bytes on the heap, allowed are %d", w.Inputs, held-w.base, maxFuzzHeap)
			}
		}
	}
}

// engineBuffer tells the fuzzing engine's own buffers from its small change: it makes
// them between two inputs.
const engineBuffer = 16 << 20
