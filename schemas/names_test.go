package schemas

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"triage": true, "a": true, "0-9": true, "-": true, strings.Repeat("a", MaxName): true,
		"": false, "Triage": false, "a.b": false, "a_b": false, "a b": false, "é": false,
		strings.Repeat("a", MaxName+1): false, strings.Repeat("é", MaxName): false,
	} {
		if err := ValidName(name); (err == nil) != ok {
			t.Errorf("ValidName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestValidType(t *testing.T) {
	t.Parallel()
	for typ, ok := range map[string]bool{
		"quake.reported": true, "ping": true, "com.example.Order_Placed-v2": true, strings.Repeat("a", MaxType): true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "a b": false, "a/b": false, "é": false,
		strings.Repeat("a", MaxType+1): false,
	} {
		if err := ValidType(typ); (err == nil) != ok {
			t.Errorf("ValidType(%q) = %v, want ok %v", typ, err, ok)
		}
	}
}

func TestParseReplyTo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text, topic string
		partition   int32
		ok          bool
	}{
		{"parley.replies.triage", "parley.replies.triage", -1, true},
		{"t/0", "t", 0, true},
		{"t/2147483647", "t", 2147483647, true},
		{"", "", 0, false},
		{"/1", "", 0, false},
		{"t/", "", 0, false},
		{"t/-1", "", 0, false},
		{"t/+1", "", 0, false},
		{"t/2147483648", "", 0, false},
		{"t/1/2", "", 0, false},
		{"..", "", 0, false},
		{"a b", "", 0, false},
		{strings.Repeat("a", 250), "", 0, false},
	} {
		topic, partition, err := ParseReplyTo(tc.text)
		if (err == nil) != tc.ok || topic != tc.topic || partition != tc.partition {
			t.Errorf("ParseReplyTo(%q) = %q, %d, %v", tc.text, topic, partition, err)
		}
	}
}
