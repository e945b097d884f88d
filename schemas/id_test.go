package schemas

import (
	"testing"

	"github.com/google/uuid"
)

func TestNewID(t *testing.T) {
	t.Parallel()
	before := ""
	for range 1000 {
		id := NewID()
		u, err := uuid.Parse(id)
		if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("%s is not a UUIDv7", id)
		}
		if id <= before {
			t.Fatalf("%s does not come after %s", id, before)
		}
		before = id
	}
}

func TestDerivedID(t *testing.T) {
	t.Parallel()
	// Fixed for good: a worker of another version must derive the same IDs.
	const want = "9b4a1da8-aa3a-8bf0-be75-923ce7efd4d8"
	got := DerivedID("feed", "us7000abcd", "triage", 0)
	if got != want {
		t.Errorf("DerivedID is %s, was %s", got, want)
	}
	u := uuid.MustParse(got)
	if u.Version() != 8 || u.Variant() != uuid.RFC4122 {
		t.Errorf("%s is not a UUIDv8", got)
	}
	seen := map[string]bool{}
	for _, id := range []string{
		got,
		DerivedID("feed", "us7000abcd", "triage", 1),
		DerivedID("feed", "us7000abcd", "dispatch", 0),
		DerivedID("feedu", "s7000abcd", "triage", 0), // the fields do not run together
		DerivedID("feed", "us7000abcdt", "riage", 0),
	} {
		if seen[id] {
			t.Errorf("%s is derived twice", id)
		}
		seen[id] = true
	}
}
