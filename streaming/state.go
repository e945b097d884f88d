package streaming

import (
	"errors"
	"fmt"
)

// State is what an agent remembers between messages, by name: entries of the
// input partition that a message came from. What a run sets is written with its
// outputs, and holds once the message is done. A run sees what stood before its
// message, also when it is repeated after a crash in which its own changes had
// been written already.
type State interface {
	// Get returns an entry as this run has set it, else as it stood before. The
	// value must not be changed.
	Get(name string) (value []byte, ok bool, err error)
	// Set stages an entry's new value; nil removes it.
	Set(name string, value []byte) error
}

// MaxStateName is the bound of an entry's name, in bytes.
const MaxStateName = 1024

// ErrStateName says that the name of an entry is empty or longer than MaxStateName.
var ErrStateName = errors.New("the name of an entry of state has 1 to 1024 bytes")

// ErrNoState says that the agent is not set up to keep state.
var ErrNoState = errors.New("the agent keeps no state; declare it before the agent runs")

// ErrStateBusy says that another message uses the entry that is not settled yet:
// of messages of one key that cannot be.
var ErrStateBusy = errors.New("an unsettled message of another key uses the entry")

// ErrStateTooLate says that a handler's goroutine has gone on with state after the
// handler had returned.
var ErrStateTooLate = errors.New("the handler has returned already")

// StateTooLargeError says that an entry was not set for its size.
type StateTooLargeError struct {
	Name        string
	Size, Limit int // bytes
}

func (e *StateTooLargeError) Error() string {
	return fmt.Sprintf("state %q has %d bytes, the limit is %d", e.Name, e.Size, e.Limit)
}
