// Package deploy holds what watches a deployment: Grafana dashboards and
// Prometheus alert rules. Its tests run each panel's query and each rule with
// Prometheus' own engine.
package deploy
