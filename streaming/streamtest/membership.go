package streamtest

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// answersMember reports whether an answer to such a request may say that the
// group has thrown a member out.
func answersMember(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.ConsumerGroupHeartbeat:
		return true
	}
	return false
}

// answerIn is the answer in a frame; nil: it cannot be read.
func answerIn(frame []byte, key, version int16) kmsg.Response {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	at := 8
	if resp.IsFlexible() {
		at++ // no tags
	}
	if len(frame) < at || resp.ReadFrom(frame[at:]) != nil {
		return nil
	}
	return resp
}

// expels reports whether an answer tells a member that the group has thrown it out. The
// group does so without a word, and a member may work on until it asks again.
func expels(frame []byte, key, version int16) bool {
	code := int16(0)
	switch r := answerIn(frame, key, version).(type) {
	case *kmsg.HeartbeatResponse:
		code = r.ErrorCode
	case *kmsg.JoinGroupResponse:
		code = r.ErrorCode
	case *kmsg.SyncGroupResponse:
		code = r.ErrorCode
	case *kmsg.ConsumerGroupHeartbeatResponse:
		code = r.ErrorCode
	}
	err := kerr.ErrorForCode(code)
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedMemberEpoch) || errors.Is(err, kerr.IllegalGeneration)
}
