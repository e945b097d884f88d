package chaos

import (
	"errors"
	"net"
	"sync"
)

// Front is a proxy before each broker, on this machine. A client is known by the
// address that it dials from, so that the way between any client and any broker
// can be cut.
type Front struct {
	mu      sync.Mutex
	proxies map[int]*proxy
	ways    map[way]*gate
	conns   map[net.Conn]way
	closed  bool
	running sync.WaitGroup
}

// way is what can be cut.
type way struct {
	client string // host
	broker int
}

type proxy struct {
	listener net.Listener
	target   string // guarded by Front.mu
}

// NewFront returns a front without brokers.
func NewFront() *Front {
	return &Front{proxies: make(map[int]*proxy), ways: make(map[way]*gate), conns: make(map[net.Conn]way)}
}

// Listen returns the address at which clients find a broker.
func (f *Front) Listen(broker int) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p := &proxy{listener: ln}
	f.mu.Lock()
	f.proxies[broker] = p
	f.mu.Unlock()
	f.running.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.running.Go(func() { f.serve(broker, p, c) })
			}
		}
	})
	return ln.Addr().String(), nil
}

// Target says where the broker itself is reached, from now on.
func (f *Front) Target(broker int, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proxies[broker].target = address
}

func (f *Front) serve(broker int, p *proxy, client net.Conn) {
	defer func() { _ = client.Close() }()
	host, _, _ := net.SplitHostPort(client.RemoteAddr().String())
	w := way{host, broker}
	g := f.gate(w)
	if !g.pass() { // what is sent into a cut way is not refused, it is not answered
		return
	}
	f.mu.Lock()
	target := p.target
	f.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		reset(client)
		return
	}
	defer func() { _ = server.Close() }()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.conns[client], f.conns[server] = w, w
	f.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		pump(server, client, g)
		_ = server.Close()
	})
	both.Go(func() {
		if pump(client, server, g) == 0 {
			reset(client) // there is no broker: an end without a word would mean TLS to the client
		}
		_ = client.Close()
	})
	both.Wait()
	f.mu.Lock()
	delete(f.conns, client)
	delete(f.conns, server)
	f.mu.Unlock()
}

// pump copies until either side ends.
func pump(to, from net.Conn, g *gate) (copied int64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !g.pass() {
				return copied
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return copied
			}
			copied += int64(n)
		}
		if err != nil {
			return copied
		}
	}
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// Cut closes ways: what is sent is held back. Heal lets it through: requests of
// before the cut arrive late. With reset the connections are ended at once.
func (f *Front) Cut(clients []string, brokers []int, reset bool) (heal func()) {
	var gates []*gate
	cut := make(map[way]bool)
	for _, c := range clients {
		for _, b := range brokers {
			gates = append(gates, f.gate(way{c, b}))
			cut[way{c, b}] = true
		}
	}
	for _, g := range gates {
		g.close()
	}
	if reset {
		f.end(func(w way) bool { return cut[w] })
	}
	return func() {
		for _, g := range gates {
			g.open()
		}
	}
}

// end resets connections.
func (f *Front) end(which func(way) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c, w := range f.conns {
		if which(w) {
			reset(c)
		}
	}
}

// Close ends all connections.
func (f *Front) Close() {
	f.mu.Lock()
	f.closed = true
	for _, p := range f.proxies {
		_ = p.listener.Close()
	}
	for _, g := range f.ways {
		g.abandon()
	}
	f.mu.Unlock()
	f.end(func(way) bool { return true })
	f.running.Wait()
}

func (f *Front) gate(w way) *gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.ways[w]
	if g == nil {
		g = newGate()
		f.ways[w] = g
	}
	return g
}

// gate is open unless so many have closed it.
type gate struct {
	mu        sync.Mutex
	changed   *sync.Cond
	closed    int
	abandoned bool
}

func newGate() *gate {
	g := &gate{}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// pass waits until the gate is open; false: it never will be.
func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed > 0 && !g.abandoned {
		g.changed.Wait()
	}
	return !g.abandoned
}

func (g *gate) close() { g.change(func() { g.closed++ }) }

func (g *gate) open() { g.change(func() { g.closed-- }) }

func (g *gate) abandon() { g.change(func() { g.abandoned = true }) }

func (g *gate) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
	g.changed.Broadcast()
}
