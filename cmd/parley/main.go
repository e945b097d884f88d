// Command parley runs and looks into agents that talk over Kafka.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// exitInterrupted is the exit code of a process that a second signal ended.
const exitInterrupted = 130

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go onSignal(cancel)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// onSignal asks for a graceful end on the first signal and ends the process on
// the second.
func onSignal(cancel context.CancelFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	cancel()
	<-signals
	os.Exit(exitInterrupted)
}
