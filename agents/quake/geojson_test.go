package quake

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// week is the bundled feed.
func week(t *testing.T) []Reported {
	t.Helper()
	events, err := Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestBundledWeek(t *testing.T) {
	t.Parallel()
	events := week(t)
	types := map[string]int{}
	ids := map[string]bool{}
	negative := 0
	for i := range events {
		e := &events[i]
		types[e.Eventtype]++
		ids[EventID(e)] = true
		if e.Magnitude != nil && *e.Magnitude < 0 {
			negative++
		}
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"events", len(events), 1707},
		{"message IDs", len(ids), 1707},
		{"earthquakes", types["earthquake"], 1679},
		{"explosions", types["explosion"], 15},
		{"quarry blasts", types["quarry blast"], 13},
		{"negative magnitudes", negative, 44},
	} {
		if c.got != c.want {
			t.Errorf("%d %s, want %d", c.got, c.what, c.want)
		}
	}
	first := events[0]
	if first.Eventid != "ci37868143" || *first.Magnitude != 2 || first.Magnitudetype != "ml" || *first.Depth != 26.49 ||
		first.Place != "4km W of Castaic, CA" || first.Longitude != -118.6671667 || first.Latitude != 34.4945 ||
		first.Time.UnixMilli() != 1517966773840 || first.Updated.UnixMilli() != 1517966996303 || first.Significance != 62 {
		t.Errorf("the first event is %+v", first)
	}
}

const oneEvent = `{"type":"FeatureCollection","features":[{"type":"Feature","id":"us1","properties":{"mag":5.1,"place":"x",
"time":1,"updated":2,"tsunami":1,"sig":3,"magType":"mb","type":"earthquake"},"geometry":{"type":"Point","coordinates":[1,2,3]}}]}`

func TestParseIsStrict(t *testing.T) {
	t.Parallel()
	with := func(old, replacement string) string {
		if !strings.Contains(oneEvent, old) {
			t.Fatalf("the sample has no %s", old)
		}
		return strings.Replace(oneEvent, old, replacement, 1)
	}
	for name, c := range map[string]struct{ text, problem string }{
		"nothing":          {"", "unexpected end"},
		"HTML":             {"<html></html>", "invalid character"},
		"cut":              {oneEvent[:len(oneEvent)-3], "unexpected end"},
		"text after":       {oneEvent + "x", "after top-level value"},
		"a list":           {"[]", "wrong kind"},
		"other JSON":       {`{"a":1}`, `"" instead of FeatureCollection`},
		"one feature":      {`{"type":"Feature"}`, `"Feature" instead of FeatureCollection`},
		"no features":      {`{"type":"FeatureCollection"}`, "no features"},
		"null features":    {`{"type":"FeatureCollection","features":null}`, "no features"},
		"null feature":     {`{"type":"FeatureCollection","features":[null]}`, `feature 0: its type is ""`},
		"no id":            {with(`"id":"us1"`, `"id":""`), "feature 0: it has no id"},
		"id a number":      {with(`"id":"us1"`, `"id":1`), "wrong kind"},
		"mag a string":     {with(`5.1`, `"5.1"`), "wrong kind"},
		"no type":          {with(`,"type":"earthquake"`, ``), "no type"},
		"no time":          {with(`"time":1,`, ``), "no time"},
		"no update time":   {with(`"updated":2,`, ``), "no time"},
		"no properties":    {`{"type":"FeatureCollection","features":[{"type":"Feature","id":"a"}]}`, "no properties"},
		"no point":         {with(`"Point"`, `"Polygon"`), "no point"},
		"one coordinate":   {with(`[1,2,3]`, `[1]`), "no point"},
		"null coordinate":  {with(`[1,2,3]`, `[null,2]`), "no point"},
		"not on Earth":     {with(`[1,2,3]`, `[1,91,3]`), "not on Earth"},
		"too large number": {with(`"time":1`, `"time":1e40`), "wrong kind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("error %v, want one with %q", err, c.problem)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %v", err)
			}
		})
	}
	for name, text := range map[string]string{
		"whole":     oneEvent,
		"no mag":    with(`"mag":5.1`, `"mag":null`),
		"no depth":  with(`[1,2,3]`, `[1,2]`),
		"null text": with(`"place":"x"`, `"place":null`),
		"empty":     `{"type":"FeatureCollection","features":[]}`,
	} {
		if _, err := Parse(strings.NewReader(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write([]byte(oneEvent)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/feed" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(oneEvent))
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	for _, name := range []string{file("plain", []byte(oneEvent)), file("packed", packed.Bytes()), server.URL + "/feed"} {
		events, err := Load(t.Context(), name)
		if err != nil || len(events) != 1 || events[0].Eventid != "us1" || !events[0].Tsunami {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
	for _, name := range []string{
		filepath.Join(dir, "absent"), dir, file("html", []byte("<html>")), file("half", packed.Bytes()[:40]),
		file("magic", []byte{0x1f, 0x8b}), server.URL + "/absent", "http://127.0.0.1:1/",
	} {
		_, err := Load(context.Background(), name)
		var bad *FeedError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v is not one line with the feed's name", name, err)
		}
	}
}
