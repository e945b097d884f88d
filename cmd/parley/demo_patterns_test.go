package main_test

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// This file recomputes how the demo's agents have coordinated: from the feed alone what
// has to come out, and from the topics, by the wire contract alone, what did. It imports
// nothing of this module.

// patterns are those of the demo's JSON.
type patterns struct {
	Negotiations struct {
		Called    int            `json:"called"`
		Awarded   int            `json:"awarded"`
		Reawarded int            `json:"reawarded"`
		NoBids    int            `json:"no_bids"`
		Failed    int            `json:"failed"`
		ByTeam    map[string]int `json:"by_team"`
	} `json:"negotiations"`
	Requests struct {
		Asked    int `json:"asked"`
		Answered int `json:"answered"`
		Late     int `json:"late"`
		Failed   int `json:"failed"`
	} `json:"requests"`
	Routes struct {
		Version       int            `json:"version"`
		Routed        int            `json:"routed"`
		ByDestination map[string]int `json:"by_destination"`
		NoRoute       int            `json:"no_route"`
	} `json:"routes"`
	State struct {
		Board     string `json:"board"`
		Keys      int    `json:"keys"`
		Updates   int    `json:"updates"`
		Conflicts int    `json:"conflicts"`
	} `json:"state"`
}

// quakeEvent is a strong event of the feed.
type quakeEvent struct {
	id                  string
	magnitude           float64
	tsunami             bool
	at                  time.Time
	longitude, latitude float64
}

func strongEvents(t *testing.T) map[string]quakeEvent {
	t.Helper()
	file, err := os.Open("../../agents/quake/testdata/usgs-all-week-2018-02-06.geojson.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var feed struct {
		Features []struct {
			ID         string
			Properties struct {
				Mag     *float64
				Time    int64
				Tsunami int
			}
			Geometry struct{ Coordinates []float64 }
		}
	}
	if err := json.NewDecoder(plain).Decode(&feed); err != nil {
		t.Fatal(err)
	}
	all := map[string]quakeEvent{}
	for _, f := range feed.Features {
		if p := f.Properties; p.Mag != nil && *p.Mag >= 4.5 {
			all[f.ID] = quakeEvent{f.ID, *p.Mag, p.Tsunami != 0, time.UnixMilli(p.Time).UTC(), f.Geometry.Coordinates[0], f.Geometry.Coordinates[1]}
		}
	}
	if len(all) != dispatched {
		t.Fatalf("%d strong events in the feed, want %d", len(all), dispatched)
	}
	return all
}

// outcome of a negotiation: who went, and how many were awarded.
type outcomeOf struct {
	phase, winner string
	awards        int
}

// negotiated is what the negotiation over an event has to come to.
func negotiated(e quakeEvent) outcomeOf {
	type bid struct {
		name string
		cost float64
	}
	var bids []bid
	for name, team := range map[string]struct {
		lat, lon float64
		load     []float64
	}{
		"team-tokyo":     {35.68, 139.69, []float64{0, 0, 1, 2}},
		"team-santiago":  {-33.45, -70.67, []float64{0.5, 1, 0, 0}},
		"team-rome":      {41.9, 12.5, []float64{1, 0, 0, 0.5}},
		"team-jakarta":   {-6.21, 106.85, []float64{0, 0, 0.5, 1}},
		"team-anchorage": {61.22, -149.9, []float64{0, 0.5, 1, 0}},
	} {
		if km := greatCircle(team.lat, team.lon, e.latitude, e.longitude); km <= 7500 {
			bids = append(bids, bid{name, km * (1 + team.load[e.at.Hour()/6])})
		}
	}
	out := outcomeOf{phase: "no_bids"}
	for len(bids) > 0 {
		best := 0
		for i, b := range bids {
			if b.cost < bids[best].cost {
				best = i
			}
		}
		out.awards++
		if !stuck(1, bids[best].name, e.id) {
			return outcomeOf{"done", bids[best].name, out.awards}
		}
		bids = append(bids[:best], bids[best+1:]...)
		out.phase = "all_failed"
	}
	return out
}

// greatCircle is the distance in km by the angle between two unit vectors.
func greatCircle(lat1, lon1, lat2, lon2 float64) float64 {
	unit := func(lat, lon float64) [3]float64 {
		lat, lon = lat*math.Pi/180, lon*math.Pi/180
		return [3]float64{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
	}
	a, b := unit(lat1, lon1), unit(lat2, lon2)
	chord := 0.0
	for i := range a {
		chord += (a[i] - b[i]) * (a[i] - b[i])
	}
	return 6371 * 2 * math.Asin(math.Sqrt(chord)/2)
}

// stuck is the rule by which teams fail: FNV-1a of the seed and team/event.
func stuck(seed uint64, team, event string) bool {
	h := uint64(14695981039346656037)
	for _, b := range append(binary.BigEndian.AppendUint64(nil, seed), team+"/"+event...) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return (h*0x9e3779b97f4a7c15)>>32%100 < 15
}

type regionValue struct {
	count     int64
	strongest float64
	last      string
	at        time.Time
}

// checkPatterns holds what the demo says, and what stands in the topics, against the
// feed.
func checkPatterns(t *testing.T, all everything, said patterns) {
	t.Helper()
	strong := strongEvents(t)
	var want patterns
	want.Negotiations.ByTeam, want.Routes.ByDestination, want.State.Board = map[string]int{}, map[string]int{}, "regions"
	wantRegions := map[string]regionValue{}
	for id, e := range strong {
		n := negotiated(e)
		want.Negotiations.Called++
		want.Negotiations.Reawarded += max(n.awards-1, 0)
		switch n.phase {
		case "done":
			want.Negotiations.Awarded++
			want.Negotiations.ByTeam[n.winner]++
		case "no_bids":
			want.Negotiations.NoBids++
		default:
			want.Negotiations.Failed++
		}
		want.Requests.Asked++
		want.Requests.Answered++
		want.Routes.Routed++
		want.Routes.ByDestination["agent:notify"]++
		if e.magnitude >= 6 {
			want.Routes.ByDestination["stream:warnings"]++
		}
		if e.tsunami {
			want.Routes.ByDestination["agent:coastguard"]++
		}
		square := func(degrees float64) int { return int(math.Floor(degrees/10)) * 10 }
		key := fmt.Sprintf("%+03d%+04d", square(e.latitude), square(e.longitude))
		r := wantRegions[key]
		r.count++
		r.strongest = max(r.strongest, e.magnitude)
		if e.at.After(r.at) {
			r.last, r.at = id, e.at
		}
		wantRegions[key] = r
	}
	want.Routes.Version, want.State.Keys, want.State.Updates = 1, len(wantRegions), len(strong)
	if n := want.Negotiations; n.NoBids == 0 || n.Failed == 0 || n.Reawarded == 0 || len(n.ByTeam) != 5 {
		t.Errorf("the rules come to %+v: something is not tested", n)
	}
	if !reflect.DeepEqual(said, want) {
		t.Errorf("the demo says\n%+v, the feed comes to\n%+v", said, want)
	}
	if counted := recountPatterns(t, all); !reflect.DeepEqual(counted, want) {
		t.Errorf("recounted\n%+v, the feed comes to\n%+v", counted, want)
	}
	for id, e := range strong {
		if got, want := concludedAs(t, all, id), negotiated(e); got != want {
			t.Errorf("event %s: the negotiation has come to %+v, want %+v", id, got, want)
		}
	}
	checkWarned(t, all, strong)
	if got := boardValues(t, all); !maps.Equal(got, wantRegions) {
		t.Errorf("the board has\n%v, the feed comes to\n%v", got, wantRegions)
	}
}

// once passes each message of a topic once.
func (all everything) once(topic string, each func(r *kgo.Record)) {
	seen := map[string]bool{}
	for _, recs := range all[topic] {
		for _, r := range recs {
			if id := first(r, "ce_source") + "\x00" + first(r, "ce_id"); !seen[id] {
				seen[id] = true
				each(r)
			}
		}
	}
}

func recountPatterns(t *testing.T, all everything) patterns {
	t.Helper()
	var p patterns
	p.Negotiations.ByTeam, p.Routes.ByDestination, p.State.Board = map[string]int{}, map[string]int{}, "regions"
	expiry := map[string]string{}
	all.once("parley.inbox.analyst", func(r *kgo.Record) {
		if first(r, "ce_type") == "quake.assess" {
			p.Requests.Asked++
			expiry[first(r, "ce_id")] = first(r, "ce_expirytime")
		}
	})
	all.once("parley.inbox.dispatch", func(r *kgo.Record) {
		switch first(r, "ce_type") {
		case "parley.negotiation.open":
			p.Negotiations.Called++
		case "parley.negotiation.conclusion":
			n := decodeConclusion(t, r)
			p.Negotiations.Reawarded += max(n.awards-1, 0)
			switch n.phase {
			case "done":
				p.Negotiations.Awarded++
				p.Negotiations.ByTeam[n.winner]++
			case "no_bids":
				p.Negotiations.NoBids++
			case "all_failed":
				p.Negotiations.Failed++
			}
		case "agent.error":
			if first(r, "ce_source") == "analyst" {
				p.Requests.Failed++
			}
		case "quake.assessment":
			due, err := time.Parse(time.RFC3339, expiry[first(r, "ce_causationid")])
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, first(r, "ce_time"))
			if err != nil {
				t.Fatal(err)
			}
			if at.After(due) {
				p.Requests.Late++
			} else {
				p.Requests.Answered++
			}
		}
	})
	routed := map[string]bool{}
	for topic := range all {
		kind, name := "agent", strings.TrimPrefix(topic, "parley.inbox.")
		if stream, ok := strings.CutPrefix(topic, "parley.events."); ok {
			kind, name = "stream", stream
		}
		if strings.Contains(name, ".") {
			continue
		}
		all.once(topic, func(r *kgo.Record) {
			if first(r, "ce_type") == "quake.alert" && first(r, "ce_source") == "dispatch" {
				p.Routes.ByDestination[kind+":"+name]++
				routed[first(r, "ce_causationid")] = true
			}
		})
	}
	p.Routes.Routed = len(routed)
	for _, r := range all["parley.routes"][0] {
		version, err := strconv.Atoi(strings.Split(string(r.Key), "/")[0])
		if err != nil {
			t.Fatal(err)
		}
		p.Routes.Version = max(p.Routes.Version, version)
	}
	for _, recs := range all["parley.inbox.dispatch.dlq.dispatch"] {
		for _, r := range recs {
			if last(r, "parley-reason") == "no_route" {
				p.Routes.NoRoute++
			}
		}
	}
	p.State.Keys = len(boardValues(t, all))
	all.once("parley.inbox.board-regions", func(r *kgo.Record) {
		if first(r, "ce_type") == "board.propose" {
			p.State.Updates++
		}
	})
	all.once("parley.inbox.registrar", func(r *kgo.Record) {
		if first(r, "ce_type") != "board.answer" {
			return
		}
		in := avroBytes{t: t, rest: r.Value[5:]}
		in.take(int(in.long())) // board
		in.take(int(in.long())) // key
		if in.take(1); in.rest != nil && r.Value[len(r.Value)-len(in.rest)-1] == 0 {
			p.State.Conflicts++
		}
	})
	p.State.Updates -= p.State.Conflicts
	return p
}

// decodeConclusion decodes a parley.negotiation.Negotiation.
func decodeConclusion(t *testing.T, r *kgo.Record) outcomeOf {
	t.Helper()
	in := avroBytes{t: t, rest: r.Value[5:]}
	var n outcomeOf
	in.text() // name
	n.phase = in.text()
	in.text() // opening
	in.long() // opened
	in.text() // task
	in.long() // work
	n.awards = int(in.long())
	in.text() // award
	n.winner = in.text()
	return n
}

func (b *avroBytes) text() string {
	b.t.Helper()
	n := int(b.long())
	rest := b.rest
	b.take(n)
	return string(rest[:n])
}

// concludedAs is the one conclusion over an event.
func concludedAs(t *testing.T, all everything, event string) outcomeOf {
	t.Helper()
	var found []outcomeOf
	all.once("parley.inbox.dispatch", func(r *kgo.Record) {
		if first(r, "ce_type") == "parley.negotiation.conclusion" && string(r.Key) == event {
			found = append(found, decodeConclusion(t, r))
		}
	})
	if len(found) != 1 {
		t.Errorf("event %s has %d conclusions", event, len(found))
		return outcomeOf{}
	}
	return found[0]
}

// checkWarned says whether each alert went where the routes have it, once.
func checkWarned(t *testing.T, all everything, strong map[string]quakeEvent) {
	t.Helper()
	for topic, warned := range map[string]func(quakeEvent) bool{
		"parley.inbox.notify":     func(quakeEvent) bool { return true },
		"parley.events.warnings":  func(e quakeEvent) bool { return e.magnitude >= 6 },
		"parley.inbox.coastguard": func(e quakeEvent) bool { return e.tsunami },
	} {
		got, want := map[string]int{}, map[string]int{}
		all.once(topic, func(r *kgo.Record) {
			if first(r, "ce_type") == "quake.alert" {
				got[string(r.Key)]++
			}
		})
		for id, e := range strong {
			if warned(e) {
				want[id] = 1
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("alerts in %s: %v, want %v", topic, got, want)
		}
	}
}

// boardValues are the values of the board: of each key that of the highest version.
func boardValues(t *testing.T, all everything) map[string]regionValue {
	t.Helper()
	values, versions := map[string]regionValue{}, map[string]int{}
	for _, recs := range all["parley.state.regions"] {
		for _, r := range recs {
			version, err := strconv.Atoi(first(r, "ce_sequence"))
			if err != nil {
				t.Fatal(err)
			}
			key := string(r.Key)
			if version < versions[key] {
				continue
			}
			versions[key] = version
			in := avroBytes{t: t, rest: r.Value[5:]}
			v := regionValue{count: in.long()}
			v.strongest = math.Float64frombits(binary.LittleEndian.Uint64(in.rest))
			in.take(8)
			v.last = in.text()
			v.at = time.UnixMilli(in.long()).UTC()
			values[key] = v
		}
	}
	return values
}
