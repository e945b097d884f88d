package embedded

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// validateAddress refuses an address that cannot be told to a client.
func validateAddress(what, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("embedded: %s address %q is not host:port", what, address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("embedded: %s address %q: port must be a number from 0 to 65535", what, address)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("embedded: %s address %q must name the host that clients connect to, for example 127.0.0.1:%s", what, address, port)
	}
	return nil
}

func listen(open func(network, address string) (net.Listener, error), what, address string) (*gatedListener, error) {
	ln, err := open("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("embedded: %s cannot listen on %s: %w", what, address, err)
	}
	return &gatedListener{Listener: ln, opened: make(chan struct{}), closed: make(chan struct{})}, nil
}

// gatedListener holds its port at once but accepts only after open, so that
// no client sees state that is still being restored.
type gatedListener struct {
	net.Listener
	openOnce, closeOnce sync.Once
	opened, closed      chan struct{}
}

func (l *gatedListener) open() { l.openOnce.Do(func() { close(l.opened) }) }

func (l *gatedListener) Accept() (net.Conn, error) {
	select {
	case <-l.opened:
		return l.Listener.Accept()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *gatedListener) Close() error {
	err := error(nil)
	l.closeOnce.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// handOver gives the listener to a server that insists on opening its own.
func (l *gatedListener) handOver(string, string) (net.Listener, error) { return l, nil }
