package quake

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	_ "embed" // the bundled feed
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"time"
)

// bundled is one week of the real feed; testdata/README.md says whence.
//
//go:embed testdata/usgs-all-week-2018-02-06.geojson.gz
var bundled []byte

const (
	maxFeedBytes = 256 << 20 // a month of the feed is about 10 MB
	feedTimeout  = 30 * time.Second
)

// FeedError says that a feed cannot be read or is not of the feed's format.
type FeedError struct {
	Feed    string // the URL or file
	Problem string
	Err     error // the cause; may be nil
}

func (e *FeedError) Error() string {
	msg := "feed " + e.Feed + " " + e.Problem
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns the cause.
func (e *FeedError) Unwrap() error { return e.Err }

// Load reads the events of a feed: an http or https URL, a file, or the bundled
// week where the name is empty. Compressed content (gzip) is recognised by its
// first bytes. The error is a *FeedError.
func Load(ctx context.Context, name string) ([]Reported, error) {
	r, err := open(ctx, name)
	if name == "" {
		name = "(bundled)"
	}
	if err != nil {
		return nil, &FeedError{Feed: name, Problem: "cannot be read", Err: err}
	}
	defer func() { _ = r.Close() }()
	plain, err := decompressed(r)
	if err != nil {
		return nil, &FeedError{Feed: name, Problem: "cannot be read", Err: err}
	}
	events, err := Parse(plain)
	if err != nil {
		return nil, &FeedError{Feed: name, Problem: "is not GeoJSON of the USGS format", Err: err}
	}
	return events, nil
}

func open(ctx context.Context, name string) (io.ReadCloser, error) {
	switch {
	case name == "":
		return io.NopCloser(bytes.NewReader(bundled)), nil
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return get(ctx, name)
	}
	return os.Open(name)
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFeedBytes+1))
	return io.NopCloser(bytes.NewReader(body)), err
}

func decompressed(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	if magic, err := buffered.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return buffered, nil // too short to be compressed: the parser says what is wrong
	}
	return gzip.NewReader(buffered)
}

// Parse reads a GeoJSON feature collection (RFC 7946) of the USGS format. It is
// strict: what is not an event with an ID, a type, its times and a place on
// Earth is an error, and so is anything after the collection.
func Parse(r io.Reader) ([]Reported, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFeedBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFeedBytes {
		return nil, fmt.Errorf("it is larger than %d MiB", maxFeedBytes>>20)
	}
	var all struct {
		Type     string
		Features *[]json.RawMessage
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, plainJSONError(err)
	}
	if all.Type != "FeatureCollection" {
		return nil, fmt.Errorf("its type is %q instead of FeatureCollection", all.Type)
	}
	if all.Features == nil {
		return nil, errors.New("it has no features")
	}
	events := make([]Reported, len(*all.Features))
	for i, raw := range *all.Features {
		var f feature
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("feature %d: %w", i, plainJSONError(err))
		}
		if events[i], err = f.event(); err != nil {
			return nil, fmt.Errorf("feature %d: %w", i, err)
		}
	}
	return events, nil
}

// plainJSONError leaves Go's type names out.
func plainJSONError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s is of the wrong kind: %s", wrong.Field, wrong.Value)
	}
	return err
}

// feature is what is read of one event.
type feature struct {
	Type       string
	ID         string
	Properties *struct {
		Mag     *float64
		MagType *string
		Place   *string
		Time    *int64
		Updated *int64
		Tsunami int
		Sig     int32
		Type    string
	}
	Geometry *struct {
		Type        string
		Coordinates []*float64
	}
}

func (f *feature) event() (Reported, error) {
	p, g := f.Properties, f.Geometry
	switch {
	case f.Type != "Feature":
		return Reported{}, fmt.Errorf("its type is %q instead of Feature", f.Type)
	case f.ID == "":
		return Reported{}, errors.New("it has no id")
	case p == nil:
		return Reported{}, fmt.Errorf("event %s has no properties", f.ID)
	case p.Type == "":
		return Reported{}, fmt.Errorf("event %s has no type", f.ID)
	case p.Time == nil || p.Updated == nil:
		return Reported{}, fmt.Errorf("event %s has no time or no update time", f.ID)
	case g == nil || g.Type != "Point" || len(g.Coordinates) < 2 || g.Coordinates[0] == nil || g.Coordinates[1] == nil:
		return Reported{}, fmt.Errorf("event %s has no point", f.ID)
	}
	lon, lat := *g.Coordinates[0], *g.Coordinates[1]
	if math.Abs(lon) > 180 || math.Abs(lat) > 90 {
		return Reported{}, fmt.Errorf("event %s lies at longitude %g, latitude %g: not on Earth", f.ID, lon, lat)
	}
	e := Reported{
		Eventid:       f.ID,
		Eventtype:     p.Type,
		Magnitude:     p.Mag,
		Magnitudetype: text(p.MagType),
		Place:         text(p.Place),
		Time:          time.UnixMilli(*p.Time).UTC(),
		Updated:       time.UnixMilli(*p.Updated).UTC(),
		Longitude:     lon,
		Latitude:      lat,
		Tsunami:       p.Tsunami != 0,
		Significance:  p.Sig,
	}
	if len(g.Coordinates) > 2 {
		e.Depth = g.Coordinates[2]
	}
	return e, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
