// Package board is shared state: a board that many agents read and propose
// changes to, by key, with a version for each.
//
// A board stands in a compacted topic of its own, parley.state.NAME. One agent, its
// keeper, writes there: it judges proposals, those of one key one after the other,
// and writes what it accepts together with its answer. A View reads the topic and
// holds all of it in memory.
//
//	var prices = board.New[shop.Price]("prices")
//
//	go platform.Run(ctx, prices.Keeper(agents.Config{ExactlyOnce: true}))
//	version, err := prices.CompareAndSet(ctx, requester, "anvil", shop.Price{Cents: 950}, 4)
//	view, err := prices.Open(ctx, platform)
//	price, version, ok := view.Get("anvil")
package board
