package schemas

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
