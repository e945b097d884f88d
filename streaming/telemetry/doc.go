// Package telemetry is what a worker shows of itself: Prometheus metrics, the
// endpoints /metrics, /healthz and /readyz, structured logs without secrets,
// and the W3C trace context that is carried from a message to what it causes.
//
// Registerer, gatherer and writer are injected, so that two workers in one
// process do not meet.
package telemetry
