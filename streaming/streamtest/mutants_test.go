package streamtest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	mutantSeeds = flag.Int("mutants", 40, "seeds after which each mutant has to be caught")
	mutantOnly  = flag.String("mutant", "early delivery", "only the mutants whose name contains this; empty: all, which takes minutes")
)

// TestMutants lays one defect after the other over the engine's source and runs
// the simulation until a checker catches it.
func TestMutants(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = 1
	}
	caught, total := 0, 0
	for _, m := range mutants {
		if !strings.Contains(m.name, *mutantOnly) {
			continue
		}
		total++
		begin := time.Now()
		bin := m.build(t)
		built := time.Since(begin).Round(100 * time.Millisecond)
		n, violation := hunt(t, bin, first, *mutantSeeds)
		if violation == "" {
			t.Errorf("%-40s survived %d seeds", m.name, *mutantSeeds)
			continue
		}
		caught++
		t.Logf("%-40s caught after %2d seeds (built in %s, %s in all): %s", m.name, n, built, time.Since(begin).Round(100*time.Millisecond), violation)
	}
	t.Logf("%d of %d mutants are caught", caught, total)
}

// mutant is a seeded defect: patches to files of the module.
type mutant struct {
	name    string
	patches []patch
}

// patch replaces text that stands once in a file.
type patch struct{ file, old, new string }

// build compiles the simulation with the defect laid over the source.
func (m mutant) build(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	texts := map[string]string{}
	for _, p := range m.patches {
		path := filepath.Join(root, p.file)
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], p.old); n != 1 {
			t.Fatalf("%s: the text to be replaced stands %d times in %s: %s", m.name, n, p.file, p.old)
		}
		texts[path] = strings.Replace(texts[path], p.old, p.new, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "synctests", "-vet=off", "-overlay", file, "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.name, err, out)
	}
	return bin
}

var violationLine = regexp.MustCompile(`seed (\d+): ((?:` + strings.Join(checkers, "|") + `): .*)`)

// checkers are the words that violations begin with.
var checkers = []string{"conservation", "effects", "attempts", "order", "delays", "outputs", "aborted reads", "stuck"}

// hunt runs seeds until a checker has something to say, and returns how many it
// took and what was said.
func hunt(t *testing.T, bin string, first uint64, most int) (int, string) {
	t.Helper()
	const chunk = 4
	for n := 0; n < most; n += chunk {
		cmd := exec.CommandContext(t.Context(), bin, "-test.run", "^TestSimulation$", "-test.v", "-test.timeout", "60s",
			"-seeds", fmt.Sprint(chunk), "-seed", fmt.Sprint(first+uint64(n)), "-traces", t.TempDir())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		all := violationLine.FindAllStringSubmatch(out.String(), -1)
		if len(all) > 0 {
			slices.SortStableFunc(all, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
			var seed uint64
			_, _ = fmt.Sscan(all[0][1], &seed)
			return int(seed-first) + 1, all[0][2]
		}
		if err != nil {
			text := out.String()
			t.Logf("no checker has said anything, but: %v\n%s", err, text[:min(len(text), 2000)])
			return n, ""
		}
	}
	return most, ""
}
