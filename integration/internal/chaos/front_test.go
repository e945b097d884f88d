package chaos

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo is a broker that gives back what it is sent.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, host, address string) client {
	t.Helper()
	c, err := DialFrom(host)(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return client{t, c, bufio.NewReader(c)}
}

func (c client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) read(within time.Duration) (string, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	line, err := c.in.ReadString('\n')
	return line, err
}

const (
	soon   = 5 * time.Second
	notYet = 50 * time.Millisecond
)

func TestFrontCutsOneWayAndLetsTheOthersBe(t *testing.T) {
	f := NewFront()
	defer f.Close()
	address, err := f.Listen(1)
	if err != nil {
		t.Fatal(err)
	}
	f.Target(1, echo(t))
	one, other := dial(t, "127.0.1.1", address), dial(t, "127.0.1.2", address)
	for _, c := range []client{one, other} {
		c.send("hello")
		if line, err := c.read(soon); line != "hello\n" {
			t.Fatal(line, err)
		}
	}
	heal := f.Cut([]string{"127.0.1.1"}, []int{1}, false)
	one.send("late")
	other.send("at once")
	if line, err := other.read(soon); line != "at once\n" {
		t.Fatalf("the other's way is cut, too: %q, %v", line, err)
	}
	if line, err := one.read(notYet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("came through a cut: %q, %v", line, err)
	}
	heal()
	if line, err := one.read(soon); line != "late\n" {
		t.Fatalf("what was held back is lost: %q, %v", line, err)
	}

	heal = f.Cut([]string{"127.0.1.1"}, []int{1}, true)
	if _, err := one.read(soon); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Fatalf("not reset: %v", err)
	}
	again := dial(t, "127.0.1.1", address) // accepted by the machine, answered by nobody
	again.send("anybody?")
	if _, err := again.read(notYet); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a new connection goes through a cut: %v", err)
	}
	heal()
	if line, err := again.read(soon); line != "anybody?\n" {
		t.Fatal(line, err)
	}
}

func TestFrontRefusesWhileTheBrokerIsAway(t *testing.T) {
	f := NewFront()
	defer f.Close()
	address, err := f.Listen(1)
	if err != nil {
		t.Fatal(err)
	}
	f.Target(1, "127.0.0.1:1")
	conn, err := DialFrom("127.0.1.1")(t.Context(), "tcp", address)
	if err == nil { // the reset may come before the dial is done
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("an end without a reset: %v", err)
	}
}
