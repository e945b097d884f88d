package telemetry

import "github.com/prometheus/client_golang/prometheus"

const labelRoute = "route"

func newRouteErrors() *prometheus.CounterVec {
	return counter("parley_route_errors_total", "Routes that could not be evaluated for a message, and did not match; why=set: a set that cannot be used.",
		[]string{labelAgent, labelRoute, labelWhy}, nil)
}

// Routes is the metrics of who routes messages.
type Routes struct {
	failed *prometheus.CounterVec
	agent  string
}

// Routes returns the metrics of the agent or sender of that name.
func (m *Metrics) Routes(agent string) *Routes { return &Routes{m.routeErrors, agent} }

// Failed counts a route that could not be evaluated. A set has no route's name.
func (r *Routes) Failed(route, why string) { r.Counter(route, why).Inc() }

// Counter is the counter of one route and reason.
func (r *Routes) Counter(route, why string) prometheus.Counter {
	return r.failed.WithLabelValues(r.agent, route, why)
}
