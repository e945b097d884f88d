package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// routesFile is a set of routes as a file has it, in YAML or JSON, and as --json prints
// it. What only says where it stood before is read and means nothing.
type routesFile struct {
	Version int64      `json:"version,omitempty" yaml:"version"`
	At      time.Time  `json:"at,omitzero" yaml:"at"`
	By      string     `json:"by,omitempty" yaml:"by"`
	Reason  string     `json:"reason,omitempty" yaml:"reason"`
	Routes  []routeDef `json:"routes" yaml:"routes"`
}

type routeDef struct {
	Name         string           `json:"name" yaml:"name"`
	Types        []string         `json:"types,omitempty" yaml:"types"`
	Match        string           `json:"match,omitempty" yaml:"match"`
	Destinations []destinationDef `json:"destinations" yaml:"destinations"`
	Mode         string           `json:"mode,omitempty" yaml:"mode"`
	Priority     int32            `json:"priority,omitempty" yaml:"priority"`
}

type destinationDef struct {
	To     string `json:"to" yaml:"to"`
	Weight int32  `json:"weight,omitempty" yaml:"weight"`
}

// UnmarshalYAML takes a destination's text alone, too.
func (d *destinationDef) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&d.To)
	}
	for i := 0; i < len(n.Content)-1 && n.Kind == yaml.MappingNode; i += 2 {
		if name := n.Content[i].Value; name != "to" && name != "weight" {
			return fmt.Errorf("line %d: a destination has no field %s: it has to and weight", n.Content[i].Line, safe(name))
		}
	}
	type plain destinationDef
	return n.Decode((*plain)(d))
}

// parseRoutes reads a file of routes. A field that there is not is an error, as it is
// mostly a misspelt one.
func parseRoutes(text []byte) (routesFile, error) {
	var f routesFile
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty; `routes: []` is a set without routes")
		}
		return f, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return f, errors.New("it goes on after its first document")
	}
	if f.Routes == nil {
		return f, errors.New("it has no routes; `routes: []` is a set without routes")
	}
	return f, nil
}

// defs are the routes as the topic has them.
func (f *routesFile) defs() []schemas.Route {
	all := make([]schemas.Route, 0, len(f.Routes))
	for _, r := range f.Routes {
		def := schemas.Route{Name: r.Name, Match: r.Match, Types: r.Types, Mode: r.Mode, Priority: r.Priority}
		if def.Mode == "" {
			def.Mode = "fanout"
		}
		for _, d := range r.Destinations {
			if d.Weight == 0 {
				d.Weight = 1
			}
			def.Destinations = append(def.Destinations, schemas.RouteDestination(d))
		}
		all = append(all, def)
	}
	return all
}

// fileOf is a set of the topic as a file has it.
func fileOf(set *schemas.RouteSet, at time.Time) routesFile {
	f := routesFile{Version: set.Version, At: at.UTC(), By: set.By, Reason: set.Reason, Routes: make([]routeDef, 0, len(set.Routes))}
	for _, r := range set.Routes {
		def := routeDef{Name: r.Name, Match: r.Match, Types: r.Types, Mode: r.Mode, Priority: r.Priority}
		for _, d := range r.Destinations {
			if r.Mode != "weighted" {
				d.Weight = 0
			}
			def.Destinations = append(def.Destinations, destinationDef(d))
		}
		f.Routes = append(f.Routes, def)
	}
	return f
}
