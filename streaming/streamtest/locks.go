//go:build !synctests

package streamtest

const virtualLocks = false
