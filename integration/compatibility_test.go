//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/evolution"
	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

// evolved is a record's versions in their order, the last of which is judged.
type evolved struct {
	name     string
	versions []string
	levels   []schemas.Level
}

// TestCompatibilityAgreesWithRegistries judges each change at each level: as `parley schema check` does, by the embedded
// registry, and by Apicurio. Each registry is asked, and then told to register. Where Apicurio judges otherwise,
// apicurioDiffers says why; a difference that it does not have, or that is no more, fails the test.
func TestCompatibilityAgreesWithRegistries(t *testing.T) {
	apicurio := cluster.SharedRegistry(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	local, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := local.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	mine, theirs := registryAt(t, local.RegistryURL()), registryAt(t, apicurio.URL)

	start := time.Now()
	prefix := cluster.Name(t)
	changes := append(oneStep(t), moreSteps...)
	var judged, differ atomic.Int64
	var working sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, c := range changes {
		for _, level := range c.levels {
			subject := fmt.Sprintf("%s-%d-%s", prefix, i, level)
			working.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				ours := c.compatible(t, level)
				if says, err := askToRegister(ctx, mine, subject, &c, level); err != nil || says != ours {
					t.Errorf("%s, %s: the embedded registry says %v, Unreadable %v; %v", c.name, level, says, ours, err)
				}
				expected := c.apicurio(t, level)
				if says, err := askToRegister(ctx, theirs, subject, &c, level); err != nil || says != expected {
					t.Errorf("%s, %s: Apicurio says %v, Unreadable %v, and by apicurioDiffers it says %v; %v", c.name, level, says, ours, expected, err)
				}
				judged.Add(1)
				if expected != ours {
					differ.Add(1)
					if why := apicurioDiffers[difference{c.name, level}]; why != "" {
						t.Logf("%s, %s: Apicurio says %v: %s", c.name, level, expected, why)
					}
				}
			})
		}
	}
	working.Wait()
	names := make(map[string]bool)
	for _, c := range changes {
		names[c.name] = true
	}
	for d := range apicurioDiffers {
		if !names[d.change] {
			t.Errorf("there is no change %q", d.change)
		}
	}
	if len(changes) < 40 {
		t.Errorf("only %d changes", len(changes))
	}
	t.Logf("%d changes, %d judgements, %d of them otherwise by Apicurio, in %s", len(changes), judged.Load(), differ.Load(), time.Since(start).Round(time.Millisecond))
}

// compatible is the platform's own verdict.
func (c *evolved) compatible(t *testing.T, level schemas.Level) bool {
	versions := make([]evolution.Version, len(c.versions))
	for i, text := range c.versions {
		schema, err := schemas.ParseSchema(text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			return false
		}
		versions[i] = evolution.Version{Schema: schema}
	}
	last := len(versions) - 1
	return len(evolution.Judge(versions[last].Schema, versions[:last], level)) == 0
}

// apicurio is the verdict that Apicurio is known to give.
func (c *evolved) apicurio(t *testing.T, level schemas.Level) bool {
	verdict := true
	for _, one := range []struct {
		counts bool
		level  schemas.Level
	}{{level.Backward(), schemas.LevelBackward}, {level.Forward(), schemas.LevelForward}} {
		if one.counts {
			if level.Transitive() {
				one.level += "_TRANSITIVE"
			}
			_, otherwise := apicurioDiffers[difference{c.name, one.level}]
			verdict = verdict && c.compatible(t, one.level) != otherwise
		}
	}
	return verdict
}

// oneStep has the changes that package schemas judges and reads, each once.
func oneStep(t *testing.T) (changes []evolved) {
	t.Helper()
	text, err := os.ReadFile("../schemas/testdata/changes.json")
	if err != nil {
		t.Fatal(err)
	}
	var table []struct {
		Name           string
		Writer, Reader json.RawMessage
	}
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, row := range table {
		c := evolved{row.Name, []string{fieldOf(row.Writer), fieldOf(row.Reader)}, []schemas.Level{schemas.LevelBackward, schemas.LevelForward, schemas.LevelFull}}
		if both := fmt.Sprint(c.versions); !seen[both] {
			seen[both] = true
			changes = append(changes, c)
		}
	}
	return changes
}

func fieldOf(typ json.RawMessage) string {
	return fmt.Sprintf(`{"type":"record","name":"test.R","fields":[{"name":"f","type":%s}]}`, typ)
}

func registryAt(t *testing.T, url string) *sr.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := sr.NewClient(sr.URLs(url), sr.HTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// askToRegister registers the older versions and says whether a registry takes the last one at a level. What it answers
// when it is asked must be what it then does.
func askToRegister(ctx context.Context, client *sr.Client, subject string, c *evolved, level schemas.Level) (bool, error) {
	ctx = sr.WithParams(ctx, sr.Verbose)
	last := len(c.versions) - 1
	for i, text := range c.versions[:last] {
		if _, err := client.RegisterSchema(ctx, subject, sr.Schema{Schema: text}, -1, -1); err != nil {
			return false, fmt.Errorf("register version %d: %w", i+1, err)
		}
		if err := setLevel(ctx, client, subject, schemas.LevelNone); err != nil {
			return false, err
		}
	}
	if err := setLevel(ctx, client, subject, level); err != nil {
		return false, err
	}
	which := -1 // the latest
	if level.Transitive() {
		which = -2 // all
	}
	answer, asked := client.CheckCompatibility(ctx, subject, which, sr.Schema{Schema: c.versions[last]})
	_, told := client.RegisterSchema(ctx, subject, sr.Schema{Schema: c.versions[last]}, -1, -1)
	for _, err := range []error{asked, told} {
		if err != nil && !isRefusal(err) {
			return false, err
		}
	}
	if answer.Is != (told == nil) {
		return told == nil, errors.Join(fmt.Errorf("it answered %+v, and then did otherwise", answer), told)
	}
	return answer.Is, nil
}

// isRefusal tells a registry's no from a failure.
func isRefusal(err error) bool {
	answer, ok := errors.AsType[*sr.ResponseError](err)
	return ok && (answer.StatusCode == http.StatusConflict || answer.StatusCode == http.StatusUnprocessableEntity)
}

// TestSchemaCheckOnRegistry has `parley schema check` ask a real registry: its level for a subject, its versions, and
// what is registered already.
func TestSchemaCheckOnRegistry(t *testing.T) {
	registry := cluster.SharedRegistry(t)
	reg, err := schemas.NewRegistry(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	client := registryAt(t, registry.URL)
	record := "Note" + strings.ReplaceAll(cluster.Name(t), "-", "")
	file := filepath.Join(t.TempDir(), "note.avsc")
	write := func(fields string) {
		t.Helper()
		text := fmt.Sprintf(`{"type":"record","name":"%s","namespace":"check","parley.type":"note.taken","fields":[%s]}`, record, fields)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	register := func() {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := schemas.ParseSchema(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reg.Register(t.Context(), schema); err != nil {
			t.Fatal(err)
		}
	}
	check := func(problems int, compared string) {
		t.Helper()
		reports, err := evolution.Check(t.Context(), evolution.FromRegistry(reg, ""), []string{file})
		if err != nil {
			t.Fatal(err)
		}
		if r := reports[0]; len(r.Problems) != problems || !strings.Contains(r.Compared, compared) {
			t.Errorf("%q, %v: want %d and %q", r.Compared, r.Problems, problems, compared)
		}
	}
	subject := "check." + record
	const text, stars = `{"name":"text","type":"string"}`, `{"name":"stars","type":"int"}`
	write(text)
	check(0, "new: ")
	register()
	check(0, "registered already, as "+subject+"@1")
	write(text + "," + stars)
	check(0, "the registry's level for it is NONE") // as Apicurio's is, where nobody has set one
	if err := setLevel(t.Context(), client, subject, schemas.LevelForward); err != nil {
		t.Fatal(err)
	}
	check(0, "compared with "+subject+"@1, the only version (FORWARD)")
	register()
	if err := setLevel(t.Context(), client, subject, schemas.LevelFullTransitive); err != nil {
		t.Fatal(err)
	}
	write(stars)
	check(3, "compared with all 2 versions up to "+subject+"@2 (FULL_TRANSITIVE)")
}

func setLevel(ctx context.Context, client *sr.Client, subject string, level schemas.Level) error {
	var l sr.CompatibilityLevel
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return err
	}
	if err := client.SetCompatibility(ctx, sr.SetCompatibility{Level: l}, subject)[0].Err; err != nil {
		return fmt.Errorf("set level %s: %w", level, err)
	}
	return nil
}
