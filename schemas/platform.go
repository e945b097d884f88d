package schemas

import "strings"

// The message types of the platform's own contract, as schemas/avro names them.
const (
	TypeAck        = "agent.ack"
	TypeAgentStop  = "agent.stop"
	TypeErrorReply = "agent.error"
	TypeAsk        = "agent.ask"
	TypeAskOver    = "agent.ask.over"

	TypeBoardProposal = "board.propose"
	TypeBoardAnswer   = "board.answer"
)

// platformTypes begin the message types of the platform's own protocols.
const platformTypes = "parley."

// PlatformType says whether messages of a type are the platform's own: it sends and
// reads them for agents, which do not declare them.
func PlatformType(t string) bool {
	switch t {
	case TypeAck, TypeErrorReply, TypeAgentStop, TypeAsk, TypeAskOver:
		return true
	}
	return strings.HasPrefix(t, platformTypes)
}
