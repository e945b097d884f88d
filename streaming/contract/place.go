package contract

import (
	"fmt"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Kind is a kind of place.
type Kind string

// The kinds of places.
const (
	KindStream Kind = "stream" // each group that subscribes reads it
	KindInbox  Kind = "inbox"  // of one agent
	KindReply  Kind = "reply"  // the inbox, or the reply path, of whoever sent what is answered
)

// Place is where messages are sent to or read from. Its text is stream:NAME,
// inbox:AGENT or reply.
type Place struct {
	Kind Kind
	Name string // of the stream or the agent; a reply has none
}

// Stream is the stream of that name.
func Stream(name string) Place { return Place{KindStream, name} }

// Inbox is the inbox of the agent of that name.
func Inbox(agent string) Place { return Place{KindInbox, agent} }

// Reply is wherever the sender of a message wants its answer.
func Reply() Place { return Place{Kind: KindReply} }

// String is the place's text.
func (p Place) String() string {
	if p.Kind == KindReply {
		return string(KindReply)
	}
	return string(p.Kind) + ":" + p.Name
}

// Validate reports a kind that there is not, or a name that is none.
func (p Place) Validate() error {
	switch p.Kind {
	case KindReply:
		if p.Name != "" {
			return fmt.Errorf("the place %s is not stream:NAME, inbox:AGENT or reply", string(p.Kind)+":"+p.Name)
		}
		return nil
	case KindStream, KindInbox:
		if err := schemas.ValidName(p.Name); err != nil {
			return fmt.Errorf("%s: %w", p.Kind, err)
		}
		return nil
	}
	return fmt.Errorf("the place %q is not stream:NAME, inbox:AGENT or reply", p.String())
}

// ParsePlace reads a place's text.
func ParsePlace(s string) (Place, error) {
	kind, name, _ := strings.Cut(s, ":")
	p := Place{Kind(kind), name}
	if p.String() != s { // reply: and the like
		return Place{}, fmt.Errorf("the place %q is not stream:NAME, inbox:AGENT or reply", s)
	}
	return p, p.Validate()
}

// MarshalText implements encoding.TextMarshaler.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), p.Validate() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Place) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePlace(string(text))
	return err
}
