package main

import (
	"cmp"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-c9b6dc07/parley/agents/quake"
)

// newModel is the model that the flags name, or nil. The key is a secret, so it is no
// flag.
func (f *demoFlags) newModel() (*quake.Model, error) {
	if f.model == "" {
		return nil, nil
	}
	endpoint, err := quake.ModelEndpoint(f.model)
	if err != nil {
		return nil, err
	}
	return &quake.Model{Endpoint: endpoint, Name: f.modelName, Key: cmp.Or(os.Getenv("PARLEY_MODEL_KEY"), os.Getenv("OPENAI_API_KEY"))}, nil
}

// countTokens counts what the model spends.
func (d *demo) countTokens(reg prometheus.Registerer) error {
	if d.model == nil {
		return nil
	}
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_demo_model_tokens_total", Help: "Tokens that the demo's model says it has spent, by agent and kind: prompt or completion.",
	}, []string{"agent", "kind"})
	prompt, completion := tokens.WithLabelValues(quake.AnalystAgent, "prompt"), tokens.WithLabelValues(quake.AnalystAgent, "completion")
	d.model.Spent = func(p, c int) {
		prompt.Add(float64(max(p, 0)))
		completion.Add(float64(max(c, 0)))
	}
	return reg.Register(tokens)
}
