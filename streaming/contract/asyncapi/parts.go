package asyncapi

import (
	"encoding/json"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// kafkaBinding is the version of the Kafka bindings.
const kafkaBinding = "0.5.0"

type document struct {
	AsyncAPI           string                `json:"asyncapi"`
	Info               about                 `json:"info"`
	DefaultContentType string                `json:"defaultContentType"`
	Channels           map[string]channel    `json:"channels"`
	Operations         map[string]*operation `json:"operations"`
	Components         components            `json:"components"`
}

type about struct {
	Title   string `json:"title"`
	Version string `json:"version"`
}

type reference struct {
	Ref string `json:"$ref"`
}

// ref points to a part of the document. No name in it needs escaping.
func ref(path ...string) reference { return reference{"#/" + strings.Join(path, "/")} }

type channel struct {
	Address     *string              `json:"address"` // null: each request names it
	Description string               `json:"description,omitempty"`
	Messages    map[string]reference `json:"messages"`
	Bindings    *channelBindings     `json:"bindings,omitempty"`
}

type channelBindings struct {
	Kafka map[string]any `json:"kafka"`
}

type operation struct {
	Action   string             `json:"action"`
	Title    string             `json:"title"`
	Channel  reference          `json:"channel"`
	Messages []reference        `json:"messages"`
	Reply    *reply             `json:"reply,omitempty"`
	Bindings *operationBindings `json:"bindings,omitempty"`
}

type operationBindings struct {
	Kafka map[string]any `json:"kafka"`
}

type reply struct {
	Address  location    `json:"address"`
	Channel  reference   `json:"channel"`
	Messages []reference `json:"messages"`
}

type location struct {
	Description string `json:"description"`
	Location    string `json:"location"`
}

type components struct {
	Schemas  map[string]any     `json:"schemas"`
	Messages map[string]message `json:"messages"`
}

type message struct {
	Name          string          `json:"name"`
	Title         string          `json:"title"`
	ContentType   string          `json:"contentType"`
	Headers       reference       `json:"headers"`
	Payload       payload         `json:"payload"`
	CorrelationID location        `json:"correlationId"`
	Bindings      messageBindings `json:"bindings"`
}

type payload struct {
	SchemaFormat string          `json:"schemaFormat"`
	Schema       json.RawMessage `json:"schema"`
}

type messageBindings struct {
	Kafka map[string]any `json:"kafka"`
}

// kafkaMessage says how a message is a Kafka record.
func kafkaMessage() map[string]any {
	return map[string]any{
		"key": map[string]any{
			"type":        "string",
			"description": "The ordering key, by default the correlation ID: messages with one key are handled in order. Partitioner: murmur2.",
		},
		"schemaIdLocation":        "payload",
		"schemaIdPayloadEncoding": "confluent",
		"schemaLookupStrategy":    "RecordNameStrategy",
		"bindingVersion":          kafkaBinding,
	}
}

// envelope is the schema of the headers: CloudEvents 1.0, Kafka binary mode.
func envelope() map[string]any {
	text := func(description string) map[string]any {
		return map[string]any{"type": "string", "description": description}
	}
	when := func(description string) map[string]any {
		return map[string]any{"type": "string", "format": "date-time", "description": description}
	}
	version := text("CloudEvents.")
	version["const"] = "1.0"
	return map[string]any{
		"type":        "object",
		"description": "The envelope: CloudEvents 1.0, Kafka binary mode, with W3C trace context.",
		"required":    []string{schemas.HeaderSpecVersion, schemas.HeaderID, schemas.HeaderSource, schemas.HeaderType},
		"properties": map[string]any{
			schemas.HeaderSpecVersion: version,
			schemas.HeaderID:          text("Message ID; with ce_source the idempotency key."),
			schemas.HeaderSource:      text("The sending agent."),
			schemas.HeaderType:        text("Message type, the parley.type of the payload's schema."),
			schemas.HeaderTime:        when("When it was sent."),
			schemas.HeaderRecipient:   text("The agent that a direct message is for."),
			schemas.HeaderKind:        text("event, intent, statediff, command, request, reply, ack or error."),
			schemas.HeaderCorrelation: text("The conversation."),
			schemas.HeaderCausation:   text("ID of the message that caused this one."),
			schemas.HeaderReplyTo:     text("topic or topic/partition that the reply goes to."),
			schemas.HeaderExpiry:      when("Past it the message is not handled."),
			schemas.HeaderDeliverAt:   when("Before it the message is not handled."),
			schemas.HeaderHops:        text("Hop budget that is left."),
			schemas.HeaderAck:         text("The ack that the sender wants: delivered or handled."),
			schemas.HeaderTraceParent: text("W3C trace context."),
			schemas.HeaderTraceState:  text("W3C trace context."),
		},
	}
}
