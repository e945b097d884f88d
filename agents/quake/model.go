package quake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
)

const (
	modelTimeout  = 30 * time.Second // of one call
	maxModelBytes = 1 << 20          // of an answer
	maxSentence   = 1000             // bytes of an alert that are the model's
)

// Model is a language model behind an OpenAI-compatible endpoint, which the analyst asks
// for its sentence: once for each event, as a durable step.
type Model struct {
	Endpoint string                       // as ModelEndpoint returns it
	Name     string                       // of the model
	Key      string                       // sent as a bearer token; empty: none
	Timeout  time.Duration                // of one call; default 30 s
	Spent    func(prompt, completion int) // told of the tokens of each answer; default: nobody
}

// ModelEndpoint is the endpoint of chat completions at a URL: the URL of a server, of
// its API's version (…/v1), or the endpoint itself.
func ModelEndpoint(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%q is not an http or https URL", server)
	}
	const endpoint = "/chat/completions"
	switch path := strings.TrimSuffix(u.Path, "/"); {
	case strings.HasSuffix(path, endpoint):
		u.Path = path
	case strings.HasSuffix(path, "/v1"):
		u.Path = path + endpoint
	default:
		u.Path = path + "/v1" + endpoint
	}
	return u.String(), nil
}

// sentence asks the model about an event. While it is not available the analyst
// pauses; what it refuses is a dead letter, and dispatch goes on without.
func (o *Model) sentence(ctx context.Context, m *agents.Message[Assess]) (string, error) {
	const step = "model"
	return agents.Step(ctx, m, step, func(ctx context.Context) (string, error) {
		// The same on each run: a server that knows such keys answers a repeated call once.
		answer, err := o.call(ctx, m.Envelope.Source+"/"+m.ID()+"/"+step, &m.Payload)
		if err != nil {
			return "", err
		}
		m.Spend(answer.Usage.TotalTokens)
		if o.Spent != nil {
			o.Spent(answer.Usage.PromptTokens, answer.Usage.CompletionTokens)
		}
		return answer.text()
	})
}

type modelMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type modelRequest struct {
	Model       string         `json:"model"`
	Messages    []modelMessage `json:"messages"`
	Temperature float64        `json:"temperature"`
	MaxTokens   int            `json:"max_tokens"`
}

type modelAnswer struct {
	Choices []struct {
		Message modelMessage `json:"message"`
	} `json:"choices"`
	Usage struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
	} `json:"usage"`
}

func (a *modelAnswer) text() (string, error) {
	if len(a.Choices) == 0 {
		return "", agents.Permanent(errors.New("the model's answer has no choices"))
	}
	text := strings.Join(strings.Fields(a.Choices[0].Message.Content), " ")
	if text == "" {
		return "", agents.Permanent(errors.New("the model's answer is empty"))
	}
	return strings.ToValidUTF8(text[:min(len(text), maxSentence)], ""), nil
}

// prompt is all that the model is told.
func prompt(q *Assess) []modelMessage {
	depth := "unknown"
	if q.Depth != nil {
		depth = fmt.Sprintf("%.0f km", *q.Depth)
	}
	tsunami := "no"
	if q.Tsunami {
		tsunami = "yes"
	}
	return []modelMessage{
		{"system", "You are a seismologist. Say in one plain sentence of at most 40 words what the event means for people nearby."},
		{"user", fmt.Sprintf("Event: %s\nPlace: %s\nMagnitude: %.1f\nDepth: %s\nTsunami flag: %s\nExpected intensity (Mercalli): %d",
			q.Eventtype, q.Place, q.Magnitude, depth, tsunami, Intensity(q.Magnitude, q.Depth))},
	}
}

func (o *Model) call(ctx context.Context, key string, q *Assess) (*modelAnswer, error) {
	body, err := json.Marshal(modelRequest{Model: o.Name, Messages: prompt(q), MaxTokens: 120})
	if err != nil {
		return nil, err
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = modelTimeout
	}
	calling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(calling, http.MethodPost, o.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, agents.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	if o.Key != "" {
		req.Header.Set("Authorization", "Bearer "+o.Key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, o.down(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxModelBytes))
	switch {
	case err != nil:
		return nil, o.down(ctx, err)
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		return nil, agents.Unavailable(fmt.Errorf("the model answers %s", resp.Status))
	case resp.StatusCode != http.StatusOK:
		return nil, agents.Permanent(fmt.Errorf("the model answers %s: %.200q", resp.Status, text))
	}
	answer := new(modelAnswer)
	if err := json.Unmarshal(text, answer); err != nil {
		return nil, agents.Permanent(fmt.Errorf("the model's answer is not JSON of chat completions: %w", err))
	}
	return answer, nil
}

// down is for a model that cannot be reached or does not answer in time; the end of the
// worker is none of its faults.
func (o *Model) down(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return agents.Unavailable(fmt.Errorf("the model does not answer: %w", err))
}
