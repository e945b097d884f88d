// Package streaming is the vocabulary of delivery: records, envelopes,
// handlers, outcomes, reasons, marks. Every type that stands in the signature
// of a port between two packages is defined here, and nothing else is: the
// package imports the standard library only.
package streaming
