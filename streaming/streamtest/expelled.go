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

// expelled reports whether an answer says so: to a worker that is alive and, as
// it could not answer in time, has lost partitions that it still works on. At
// least once that is a takeover like that from a zombie.
func expelled(frame []byte, key, version int16) bool {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	at := 8
	if resp.IsFlexible() {
		at++ // no tags
	}
	if len(frame) < at || resp.ReadFrom(frame[at:]) != nil {
		return false
	}
	code := int16(0)
	switch r := resp.(type) {
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
