package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat's times: USER_HZ, 100 on every
// architecture that Linux has for Go.
const clockTick = 10 * time.Millisecond

// cpuTime is what the broker's process has used so far, zero where the system
// does not say: its container runs on another machine, or is not of this run.
func (b *broker) cpuTime(ctx context.Context) time.Duration {
	if b == nil {
		return 0
	}
	if b.pid == "" {
		pid, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", b.container)
		if err != nil {
			return 0
		}
		b.pid = pid
	}
	stat, err := os.ReadFile("/proc/" + b.pid + "/stat")
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything; what follows begins with the state, field 3 of proc(5).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0
	}
	return time.Duration(user+system) * clockTick
}
