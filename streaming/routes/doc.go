// Package routes is where a message goes, as data: a set of routes, each a match
// over a message's attributes and payload with destinations, all of one version.
// It is without I/O: Log says which set of a topic's records counts, and Set
// decides for one message.
package routes
