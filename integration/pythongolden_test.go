//go:build integration

package integration

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
)

// readTestdata reads a file of schemas/testdata.
func readTestdata(t *testing.T, name string, into any) (text string) {
	t.Helper()
	b, err := os.ReadFile("../schemas/testdata/" + name)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type goldenFile struct {
	Schemas []struct {
		ID            int
		Subject, Text string
	}
	Vectors []struct {
		Name        string
		Topic       string
		PartitionBy string
		Partition   int32
		Key         *struct{ Hex string }
		Foreign     []string
		Headers     []struct{ Name, Hex string }
		Value       string
		Schema      int
		Read        struct {
			Original string
			Envelope map[string]any
			Payload  any
		}
	}
}

// registry knows the file's schemas by the file's IDs.
func (g *goldenFile) registry(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Schema string }
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		for _, s := range g.Schemas {
			if r.URL.Path == fmt.Sprintf("/schemas/ids/%d", s.ID) || r.URL.Path == "/subjects/"+s.Subject+"/versions" && asked.Schema == s.Text {
				_ = json.NewEncoder(w).Encode(map[string]any{"id": s.ID, "schema": s.Text})
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// The code of docs/python.md reads and writes the golden vectors, and refuses
// what is cut or too long.
func TestPythonGolden(t *testing.T) {
	var g goldenFile
	text := readTestdata(t, "golden.json", &g)
	out := newPython(t, "", g.registry(t).URL, "parley").run(t, text, "golden.py")
	dec := json.NewDecoder(strings.NewReader(out))
	for _, v := range g.Vectors {
		var got struct {
			Name, Value, Empty string
			Payload            any
			Cut, Longer        []string
			Read               map[string]any
			Written            [][2]string
		}
		if err := dec.Decode(&got); err != nil || got.Name != v.Name {
			t.Fatalf("%s: Python's line is that of %q: %v", v.Name, got.Name, err)
		}
		if !reflect.DeepEqual(got.Payload, v.Read.Payload) {
			t.Errorf("%s: payload %v\ninstead of %v", v.Name, got.Payload, v.Read.Payload)
		}
		if (got.Value == v.Value) == slices.Contains(v.Foreign, "value") {
			t.Errorf("%s: encoded as %s, the vector is %s", v.Name, got.Value, v.Value)
		}
		if !slices.Equal(got.Cut, []string{"decode"}) || !slices.Equal(got.Longer, []string{"decode"}) || got.Empty != "contract" {
			t.Errorf("%s: when cut %v, longer %v, empty %s", v.Name, got.Cut, got.Longer, got.Empty)
		}
		if v.Read.Envelope == nil {
			continue
		}
		wanted := map[string]any{}
		for name, value := range v.Read.Envelope {
			switch name {
			case "expiry":
				name = "ce_expirytime"
			case "traceparent", "tracestate":
			default:
				name = "ce_" + name
			}
			wanted[name] = value
		}
		for name, value := range got.Read {
			switch want := wanted[name].(type) {
			case nil:
				if strings.HasPrefix(name, "ce_") && name != "ce_specversion" {
					t.Errorf("%s: %s is read as %v and not described", v.Name, name, value)
				}
			case []any: // ce_route
				if value != strings.Join(texts(want), ",") {
					t.Errorf("%s: %s is %v instead of %v", v.Name, name, value, want)
				}
			default:
				foreign := name == "ce_time" && slices.Contains(v.Foreign, "headers") // another form of the same
				if fmt.Sprint(value) != fmt.Sprint(want) && !foreign {
					t.Errorf("%s: %s is %v instead of %v", v.Name, name, value, want)
				}
			}
			delete(wanted, name)
		}
		if len(wanted) > 0 {
			t.Errorf("%s: not read: %v", v.Name, wanted)
		}
		if slices.Contains(v.Foreign, "headers") || v.Read.Original != "" {
			continue // others write these otherwise, and a copy's are as they came
		}
		var headers [][2]string
		for _, h := range v.Headers {
			value, err := hex.DecodeString(h.Hex)
			if err != nil {
				t.Fatal(err)
			}
			headers = append(headers, [2]string{h.Name, string(value)})
		}
		order := func(a, b [2]string) int { return strings.Compare(a[0], b[0]) }
		slices.SortFunc(headers, order)
		slices.SortFunc(got.Written, order)
		if !slices.Equal(headers, got.Written) {
			t.Errorf("%s: headers %q\ninstead of %q", v.Name, got.Written, headers)
		}
	}
	if dec.More() {
		t.Error("Python has more lines than there are vectors")
	}
}

func texts(values []any) []string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// An ID of Python's is a UUIDv7, or follows from the cause, the agent and the
// position, in each process the same.
func TestPythonIDs(t *testing.T) {
	py := newPython(t, "", "", "parley")
	root, err := uuid.Parse(strings.TrimSpace(py.run(t, "", "-c", "import contract; print(contract.new_id())")))
	if err != nil {
		t.Fatal(err)
	}
	sec, _ := root.Time().UnixTime()
	if age := time.Since(time.Unix(sec, 0)); root.Version() != 7 || root.Variant() != uuid.RFC4122 || age < -time.Minute || age > time.Minute {
		t.Errorf("%s is version %d, %s old", root, root.Version(), age)
	}
	derived := func(source, id, agent string, n int) string {
		return py.run(t, "", "-c", `if True:
			import contract, sys
			cause = {"ce_source": sys.argv[1], "ce_id": sys.argv[2], "ce_correlationid": "talk", "ce_hops": 3}
			print(dict(contract.caused(cause, sys.argv[3], int(sys.argv[4])))["ce_id"])`, source, id, agent, fmt.Sprint(n))
	}
	first := derived("a", "bc", "herald", 0)
	if again := derived("a", "bc", "herald", 0); again != first {
		t.Errorf("%s the first time, %s the second", first, again)
	}
	for _, other := range []string{derived("ab", "c", "herald", 0), derived("a", "bc", "other", 0), derived("a", "bc", "herald", 1)} {
		if other == first {
			t.Errorf("%s for another cause, agent or position too", first)
		}
	}
}

// librdkafka, with the page's settings, has each key where Kafka's Java client has it.
func TestPythonPartitions(t *testing.T) {
	var murmur struct {
		Vectors []struct {
			Key       string
			Partition map[string]int32
		}
	}
	readTestdata(t, "murmur2.json", &murmur)
	var g goldenFile
	readTestdata(t, "golden.json", &g)
	onEachBroker(t, func(t *testing.T, p *place) {
		admin := kadm.NewClient(p.client(t))
		topic := func(partitions string) string { return string(p.namespace) + "." + partitions }
		for partitions, n := range map[string]int32{"1": 1, "3": 3, "6": 6, "12": 12, "64": 64} {
			if _, err := admin.CreateTopic(t.Context(), n, 1, nil, topic(partitions)); err != nil {
				t.Fatal(err)
			}
		}
		var lines, want []string
		for _, v := range murmur.Vectors {
			for partitions, partition := range v.Partition {
				lines = append(lines, topic(partitions)+" "+v.Key)
				want = append(want, fmt.Sprint(partition))
			}
		}
		for _, v := range g.Vectors {
			if v.PartitionBy == "key" {
				lines = append(lines, topic("6")+" "+v.Key.Hex)
				want = append(want, fmt.Sprint(v.Partition))
			}
		}
		py := newPython(t, p.broker, p.registry, string(p.namespace))
		got := strings.Fields(py.run(t, strings.Join(lines, "\n"), "partitions.py"))
		if len(got) != len(want) || len(got) < 200 {
			t.Fatalf("%d partitions for %d keys", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s is in partition %s instead of %s", lines[i], got[i], want[i])
			}
		}
	})
}
