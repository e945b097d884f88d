package streaming

// Reason is why a message was retried or dead-lettered. The set is closed: it
// is a metric label and a header of wire contract version 1.
type Reason string

// The closed set of reasons.
const (
	ReasonDecode     Reason = "decode"     // the value is not Avro of its schema, or not framed
	ReasonSchema     Reason = "schema"     // the schema is unknown or incompatible
	ReasonContract   Reason = "contract"   // the envelope breaks the wire contract
	ReasonSignature  Reason = "signature"  // missing, wrong or expired signature
	ReasonEncryption Reason = "encryption" // the payload cannot be decrypted
	ReasonPolicy     Reason = "policy"     // the sender may not send this here
	ReasonExpired    Reason = "expired"    // past ce_expirytime
	ReasonHops       Reason = "hops"       // the hop budget is spent
	ReasonNoRoute    Reason = "no_route"   // no destination
	ReasonNoHandler  Reason = "no_handler" // a direct message of a type without a handler
	ReasonHandler    Reason = "handler"    // the handler failed until its attempts were spent
	ReasonPanic      Reason = "panic"      // the handler panicked
	ReasonTimeout    Reason = "timeout"    // the handler ran out of time
	ReasonCrash      Reason = "crash"      // the handler's process died under it
	ReasonPermanent  Reason = "permanent"  // the handler said that no retry can help
	ReasonTooLarge   Reason = "too_large"  // a copy was refused for its size
	ReasonUnknown    Reason = "unknown"
)

// Reasons lists the closed set, in the order of the wire contract.
func Reasons() []Reason {
	return []Reason{
		ReasonDecode, ReasonSchema, ReasonContract, ReasonSignature, ReasonEncryption,
		ReasonPolicy, ReasonExpired, ReasonHops, ReasonNoRoute, ReasonNoHandler, ReasonHandler,
		ReasonPanic, ReasonTimeout, ReasonCrash, ReasonPermanent, ReasonTooLarge, ReasonUnknown,
	}
}

// ParseReason returns the reason of that name, or ReasonUnknown.
func ParseReason(s string) Reason {
	for _, r := range Reasons() {
		if string(r) == s {
			return r
		}
	}
	return ReasonUnknown
}
