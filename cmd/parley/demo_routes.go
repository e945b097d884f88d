package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/quake"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// applyRoutes puts the demo's routes in force, unless they are: a demo that is started
// again makes no new version of them.
func (d *demo) applyRoutes(ctx context.Context) error {
	file, err := parseRoutes(quake.Routes)
	if err != nil {
		return fmt.Errorf("the demo's routes: %w", err)
	}
	// The routes look at alerts, so their schema has to be there.
	if _, err := d.platform.Codec().Encode(ctx, &quake.Alert{}); err != nil {
		return fmt.Errorf("the demo's routes: %w", err)
	}
	for {
		history, err := d.sender.RouteHistory(ctx)
		if err != nil {
			return err
		}
		if len(history) > 0 && sameRoutes(history[0].Set, file.defs()) {
			return nil
		}
		_, err = d.sender.ApplyRoutes(ctx, file.defs(), "parley demo", file.Reason)
		var conflict *agents.RouteConflictError
		if !errors.As(err, &conflict) {
			return err
		}
	}
}

func sameRoutes(set *schemas.RouteSet, defs []schemas.Route) bool {
	if set == nil {
		return false // it cannot be read
	}
	text := func(routes []schemas.Route) []byte {
		of := schemas.RouteSet{Routes: routes}
		text, _ := json.Marshal(fileOf(&of, time.Time{}).Routes) // texts and numbers
		return text
	}
	return bytes.Equal(text(set.Routes), text(defs))
}
