package worker

// turn is a lock that is held while the broker is asked. It is a channel: who
// waits for a sync.Mutex is not durably blocked in the sense of testing/synctest,
// and virtual time would stand still until the broker answers, which needs it.
type turn chan struct{}

// Lock waits for the turn.
func (t turn) Lock() { t <- struct{}{} }

// Unlock passes it on.
func (t turn) Unlock() { <-t }
