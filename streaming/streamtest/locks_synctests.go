//go:build synctests

package streamtest

const virtualLocks = true
