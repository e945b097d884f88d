package streamtest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"math/rand/v2"
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
	mutantSeeds = flag.Int("mutants", 300, "seeds after which each mutant has to be caught")
	mutantOnly  = flag.String("mutant", "", "the mutants whose name contains this; empty: -sample of all")
	compile     = flag.Bool("compile", false, "TestMutantsFit compiles them, too: half a minute")
	sample      = flag.Int("sample", 1, "how many mutants are drawn where none is named; 0: all, which takes minutes")
)

// TestMutantsFit holds each patch against today's source: its anchor stands
// there once, and what comes out is Go. With -compile it compiles.
func TestMutantsFit(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two mutants are named %q", m.name)
		}
		names[m.name] = true
		texts, err := m.patched()
		if err != nil {
			t.Error(err)
		}
		for path, text := range texts {
			if _, err := parser.ParseFile(token.NewFileSet(), path, text, 0); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
		if *compile && err == nil {
			if out, err := m.goTool(t, texts, "build", "../worker"); err != nil {
				t.Errorf("%s does not compile: %v\n%s", m.name, err, out)
			}
		}
	}
}

// drawn are the mutants to be tried.
func drawn() []mutant {
	if *mutantOnly == "" && *sample > 0 {
		some := slices.Clone(mutants)
		rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return some[:min(*sample, len(some))]
	}
	return slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.name, *mutantOnly) })
}

// TestMutants lays one defect after the other over the engine's source and runs
// the simulation until a checker catches it.
func TestMutants(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64N(1_000_000_000)
	}
	t.Logf("first seed %d; go test ./streaming/streamtest -run Mutants -mutant NAME -seed %d", first, first)
	caught, total := 0, 0
	for _, m := range drawn() {
		total++
		t.Run(m.name, func(t *testing.T) {
			begin := time.Now()
			bin := m.build(t)
			built := time.Since(begin).Round(100 * time.Millisecond)
			n, violation := hunt(t, bin, first, *mutantSeeds)
			if violation == "" {
				t.Fatalf("it has survived %d seeds", *mutantSeeds)
			}
			caught++
			t.Logf("caught after %2d seeds (built in %s, %s in all): %s", n, built, time.Since(begin).Round(100*time.Millisecond), violation[:min(len(violation), 160)])
		})
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

// patched returns the files that the defect changes, by their absolute paths.
func (m mutant) patched() (map[string]string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, p := range m.patches {
		path := filepath.Join(root, p.file)
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], p.old); n != 1 {
			return nil, fmt.Errorf("mutant %q: its anchor has to stand once in %s, and stands %d times; change the patch in mutantlist_test.go to today's source: %s", m.name, p.file, n, p.old)
		}
		texts[path] = strings.Replace(texts[path], p.old, p.new, 1)
	}
	return texts, nil
}

// build compiles the simulation with the defect laid over the source.
func (m mutant) build(t *testing.T) string {
	t.Helper()
	texts, err := m.patched()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "mutant.test")
	if out, err := m.goTool(t, texts, "test", "-c", "-tags", "synctests", "-vet=off", "-o", bin, "."); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.name, err, out)
	}
	return bin
}

// goTool runs a command of go with these texts in the place of files.
func (m mutant) goTool(t *testing.T, texts map[string]string, command string, args ...string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
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
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), "go", append([]string{command, "-overlay", file}, args...)...).CombinedOutput()
}

var violationLine = regexp.MustCompile(`seed (\d+): ((?:` + strings.Join(checkers, "|") + `): .*)`)

// checkers are the words that violations begin with.
var checkers = []string{"conservation", "effects", "attempts", "order", "delays", "outputs", "aborted reads", "stuck", "steps", "copies", "pauses", "holds", "payload"}

// hunt runs seeds until a checker has something to say, and returns how many it
// took and what was said.
func hunt(t *testing.T, bin string, first uint64, most int) (int, string) {
	t.Helper()
	const chunk = 4
	for n := 0; n < most; n += chunk {
		cmd := exec.CommandContext(t.Context(), bin, "-test.run", "^TestSimulation$", "-test.v", "-test.timeout", "5m",
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
