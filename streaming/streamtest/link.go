package streamtest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// errNetworkDown is what a simulated process that is dead gets from the network.
var errNetworkDown = errors.New("simulation: the network is down")

// networkDown takes its time, as a refusal does: a client that asks again at once would
// else hold virtual time up for ever.
func networkDown() error {
	time.Sleep(time.Millisecond)
	return errNetworkDown
}

// link is the network between one process and the broker. It sees each request
// and each response as a whole frame, so that it can lose a request before the
// broker has applied it, or the response after.
type link struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// request looks at a request before it goes to the broker. With pass false it
	// is lost. answered, if not nil, is asked before the response is delivered.
	request func(frame []byte) (pass bool, answered func(frame []byte) response)
	latency func() time.Duration

	mu      sync.Mutex
	conns   map[*conn]struct{}
	dead    bool
	gone    chan struct{} // closed when dead
	outages []*outage
	slow    time.Duration

	running sync.WaitGroup // of its connections; none is added once it is dead
}

// outage keeps frames back until it is over: what was sent before arrives then,
// even if its sender has closed the connection since.
type outage struct {
	broker   int // everyBroker: all of them
	up, down bool
	over     chan struct{}
}

const everyBroker = -1

// response is what becomes of an answer of the broker.
type response int

const (
	deliver response = iota
	lose             // nothing more comes back on this connection until it is cut
)

func newLink(dial func(ctx context.Context, network, address string) (net.Conn, error)) *link {
	return &link{dial: dial, conns: make(map[*conn]struct{}), gone: make(chan struct{})}
}

// Dial is a kafka.Config.Dialer.
func (l *link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	broker := brokerAt(address)
	if !l.await(broker, true, ctx.Done()) {
		return nil, networkDown()
	}
	server, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	client, inner := net.Pipe()
	c := &conn{link: l, broker: broker, server: server, inner: inner, cut: make(chan struct{}), asked: make(map[uint32]func([]byte) response)}
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		c.close()
		return nil, networkDown()
	}
	l.conns[c] = struct{}{}
	l.running.Go(c.requests)
	l.running.Go(c.responses)
	l.mu.Unlock()
	return client, nil
}

// brokerAt is the number of the broker at an address.
func brokerAt(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n - firstPort
}

// await waits until no outage holds that direction. It is false when the process
// is dead or stop is closed.
func (l *link) await(broker int, up bool, stop <-chan struct{}) bool {
	for {
		l.mu.Lock()
		dead, held := l.dead, l.outage(broker, up)
		l.mu.Unlock()
		switch {
		case dead:
			return false
		case held == nil:
			return true
		}
		select {
		case <-held.over:
		case <-l.gone:
		case <-stop:
			return false
		}
	}
}

func (l *link) outage(broker int, up bool) *outage {
	for _, o := range l.outages {
		if (o.broker == everyBroker || o.broker == broker) && (up && o.up || !up && o.down) {
			return o
		}
	}
	return nil
}

func (l *link) pause() {
	l.mu.Lock()
	d := l.slow
	l.mu.Unlock()
	if l.latency != nil {
		d += l.latency()
	}
	if d > 0 {
		time.Sleep(d)
	}
}

// suffer begins an outage; end ends it.
func (l *link) suffer(o outage) (end func()) {
	o.over = make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outages = append(l.outages, &o)
	return func() { l.end(&o) }
}

func (l *link) end(o *outage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.outages, o); i >= 0 {
		l.outages = slices.Delete(l.outages, i, i+1)
		close(o.over)
	}
}

// heal ends all that is wrong with the link.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outages {
		close(o.over)
	}
	l.outages, l.slow = nil, 0
}

func (l *link) slowDown(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = d
}

// cut closes all connections; new ones can be opened.
func (l *link) cut() {
	for _, c := range l.all() {
		c.close()
	}
}

// kill ends the network of a dead process. What it has sent and the broker has
// not got is lost.
func (l *link) kill() {
	l.mu.Lock()
	if !l.dead {
		l.dead = true
		close(l.gone)
	}
	l.mu.Unlock()
	l.cut()
}

func (l *link) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// conn is one connection of a link.
type conn struct {
	link   *link
	broker int
	inner  net.Conn // to the client
	server net.Conn // to the broker
	once   sync.Once
	cut    chan struct{}

	mu    sync.Mutex
	asked map[uint32]func([]byte) response // by correlation ID
}

func (c *conn) close() {
	c.once.Do(func() {
		close(c.cut)
		_ = c.inner.Close()
		_ = c.server.Close()
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
}

func readFrame(from io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(frame, size[:])
	_, err := io.ReadFull(from, frame[4:])
	return frame, err
}

func (c *conn) requests() {
	defer c.close()
	for {
		frame, err := readFrame(c.inner)
		if err != nil {
			return
		}
		c.link.pause()
		if !c.link.await(c.broker, true, c.cut) {
			return
		}
		if len(frame) >= 12 && c.link.request != nil {
			pass, answered := c.link.request(frame)
			if !pass {
				return
			}
			if answered != nil {
				c.mu.Lock()
				c.asked[binary.BigEndian.Uint32(frame[8:])] = answered
				c.mu.Unlock()
			}
		}
		if _, err := c.server.Write(frame); err != nil {
			return
		}
	}
}

func (c *conn) responses() {
	defer c.close()
	for {
		frame, err := readFrame(c.server)
		if err != nil {
			return
		}
		c.link.pause()
		if len(frame) >= 8 {
			id := binary.BigEndian.Uint32(frame[4:])
			c.mu.Lock()
			answered := c.asked[id]
			delete(c.asked, id)
			c.mu.Unlock()
			if answered != nil && answered(frame) == lose {
				c.stall()
				return
			}
		}
		if !c.link.await(c.broker, false, c.cut) {
			return
		}
		if _, err := c.inner.Write(frame); err != nil {
			return
		}
	}
}

// lostFor is how long a connection whose answer was lost seems to be open.
const lostFor = 4 * time.Second

func (c *conn) stall() {
	select {
	case <-time.After(lostFor):
	case <-c.cut:
	}
}
