//go:build integration

package integration

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v1"
	"github.com/seed-c9b6dc07/parley/integration/internal/rolling/v2"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// registerVersions registers both versions as two of one subject, each readable
// by the other, and the platform's own schemas.
func registerVersions(t *testing.T, url string) {
	t.Helper()
	ctx := t.Context()
	registry, err := schemas.NewRegistry(url)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	client, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		t.Fatal(err)
	}
	for _, versions := range [][2]schemas.Message{{v1.Task{}, v2.Task{}}, {v1.Done{}, v2.Done{}}} {
		subject := schemas.FullName(versions[0].Schema())
		for i, m := range versions {
			if _, err := registry.Register(ctx, m.Schema()); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				for _, r := range client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFullTransitive}, subject) {
					if r.Err != nil {
						t.Fatal(r.Err)
					}
				}
			}
		}
		// The level is kept: what version 1 could not read is refused.
		text, err := schemas.SchemaText(versions[1].Schema())
		if err != nil {
			t.Fatal(err)
		}
		third, err := schemas.ParseSchema(strings.Replace(text, `"fields":[`, `"fields":[{"name":"needed","type":"long"},`, 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := registry.Register(ctx, third); !refused(err) {
			t.Fatalf("a version that is not compatible: %v", err)
		}
		if has, err := client.SubjectVersions(ctx, subject); err != nil || len(has) != 2 {
			t.Fatalf("%s has the versions %v, %v", subject, has, err)
		}
	}
	for _, m := range []schemas.Message{schemas.LedgerEntry{}, schemas.AgentControl{}, schemas.AgentStop{}, schemas.Ack{}, schemas.ErrorReply{}} {
		if _, err := registry.Register(ctx, m.Schema()); err != nil {
			t.Fatal(err)
		}
	}
}

func refused(err error) bool {
	_, ok := errors.AsType[*schemas.SchemaError](err)
	return ok
}
