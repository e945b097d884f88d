package telemetry

import (
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
)

// redacted stands where a secret would be.
const redacted = "[redacted]"

// secretWords make a key look secret wherever they stand in it; letters are
// compared without case, separators are ignored.
var secretWords = []string{
	"password", "passwd", "passphrase", "secret", "token", "authorization", "sasl", "credential",
	"apikey", "privatekey", "cookie",
}

// NewLogger returns a logger that writes one line per record to w, as JSON or
// as key=value text. The value of an attribute whose key, or whose group, looks
// secret is not written, and neither is the password in a URL. Message texts
// are written as they are.
func NewLogger(w io.Writer, level slog.Level, json bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	if json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func redact(groups []string, a slog.Attr) slog.Attr {
	if looksSecret(a.Key) {
		return slog.String(a.Key, redacted)
	}
	for _, g := range groups {
		if looksSecret(g) {
			return slog.String(a.Key, redacted)
		}
	}
	switch v := a.Value.Any().(type) {
	case *url.URL:
		if v != nil {
			return slog.String(a.Key, v.Redacted())
		}
	case string:
		if strings.Contains(v, "://") {
			return slog.String(a.Key, urlPassword.ReplaceAllString(v, "${1}"+redacted+"@"))
		}
	case error:
		if text := v.Error(); strings.Contains(text, "://") {
			return slog.String(a.Key, urlPassword.ReplaceAllString(text, "${1}"+redacted+"@"))
		}
	}
	return a
}

// urlPassword finds the user part of a URL that holds a password, also inside
// a longer text.
var urlPassword = regexp.MustCompile(`(://[^/?#\s@:]*:)[^/?#\s]+@`)

var separators = strings.NewReplacer("_", "", "-", "", ".", "", " ", "")

func looksSecret(key string) bool {
	key = separators.Replace(strings.ToLower(key))
	for _, w := range secretWords {
		if strings.Contains(key, w) {
			return true
		}
	}
	return false
}
