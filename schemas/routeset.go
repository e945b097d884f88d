package schemas

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// TypeRouteSet is the message type of RouteSet.
const TypeRouteSet = "route.set"

// RouteSetKey is the key of a set in the topic of routes: its version and what
// makes it its writer's own, so that compaction keeps each set.
func RouteSetKey(version int64, id string) string { return fmt.Sprintf("%d/%s", version, id) }

// ParseRouteSet reads a record of the topic of routes: ok is false for one whose
// key is not that of a set. One without a value takes the set back: only the
// version is set then, from the key, which says it in any case. Errors are
// Codec.Decode's.
func ParseRouteSet(ctx context.Context, codec *Codec, rec *streaming.Record) (set RouteSet, ok bool, err error) {
	number, id, _ := strings.Cut(string(rec.Key), "/")
	version, bad := strconv.ParseInt(number, 10, 64)
	if bad != nil || version < 1 || id == "" {
		return RouteSet{}, false, nil
	}
	if rec.Value != nil {
		err = codec.Decode(ctx, rec.Value, &set, TypeRouteSet)
	}
	set.Version = version
	return set, true, err
}
