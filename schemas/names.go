package schemas

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MaxName is the longest name of an agent, stream or namespace, in bytes. A
// companion topic's name holds three of them and Kafka allows 249 in all.
const MaxName = 63

// MaxType is the longest message type, in bytes.
const MaxType = 255

// ValidName says whether s can name an agent, a stream or a namespace:
// [a-z0-9-]+, at most MaxName bytes.
func ValidName(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	if len(s) > MaxName {
		return fmt.Errorf("the name %s… has %d bytes, allowed are %d", strconv.QuoteToASCII(s[:16]), len(s), MaxName)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the name %s may hold a to z, 0 to 9 and - only", strconv.QuoteToASCII(s))
		}
	}
	return nil
}

// ValidType says whether s can be a message type: words of letters, digits, _
// and -, separated by dots, at most MaxType bytes.
func ValidType(s string) error {
	if s == "" {
		return errors.New("the message type is empty")
	}
	if len(s) > MaxType {
		return fmt.Errorf("the message type %s… has %d bytes, allowed are %d", strconv.QuoteToASCII(s[:16]), len(s), MaxType)
	}
	word := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && word > 0:
			word = 0
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			word++
		default:
			return badType(s)
		}
	}
	if word == 0 {
		return badType(s)
	}
	return nil
}

func badType(s string) error {
	return fmt.Errorf("the message type %s is not words of letters, digits, _ and - separated by dots", quote([]byte(s)))
}

// ParseReplyTo splits ce_replyto, a topic or topic/partition. The partition is
// -1 where none is named.
func ParseReplyTo(s string) (topic string, partition int32, err error) {
	topic, part, found := strings.Cut(s, "/")
	if err := validTopic(topic); err != nil {
		return "", 0, err
	}
	if !found {
		return topic, -1, nil
	}
	n, err := strconv.ParseUint(part, 10, 31)
	if err != nil {
		return "", 0, fmt.Errorf("the partition %s is not a number from 0 to %d", quote([]byte(part)), math.MaxInt32)
	}
	return topic, int32(n), nil
}

// validTopic holds Kafka's rule for topic names
// (org.apache.kafka.common.internals.Topic).
func validTopic(s string) error {
	if s == "" || s == "." || s == ".." || len(s) > 249 {
		return fmt.Errorf("%s is not a topic name", quote([]byte(s)))
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("%s is not a topic name", quote([]byte(s)))
		}
	}
	return nil
}
