package kafka

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Compression is how batches are compressed that are written. What is read may be
// compressed in any way.
type Compression string

// The compressions that Kafka has.
const (
	CompressionNone   Compression = "none"
	CompressionZstd   Compression = "zstd"
	CompressionLZ4    Compression = "lz4"
	CompressionSnappy Compression = "snappy"
	CompressionGzip   Compression = "gzip"
)

// Compressions lists them.
func Compressions() []Compression {
	return []Compression{CompressionNone, CompressionZstd, CompressionLZ4, CompressionSnappy, CompressionGzip}
}

// Validate reports a compression that there is not. Empty is the default.
func (c Compression) Validate() error {
	if c != "" && !slices.Contains(Compressions(), c) {
		var names []string
		for _, known := range Compressions() {
			names = append(names, string(known))
		}
		return fmt.Errorf("compression %q: use %s", string(c), strings.Join(names, ", "))
	}
	return nil
}

func (c Compression) preference() []kgo.CompressionCodec {
	switch c {
	case CompressionNone:
		return []kgo.CompressionCodec{kgo.NoCompression()}
	case CompressionZstd:
		return []kgo.CompressionCodec{kgo.ZstdCompression()}
	case CompressionLZ4:
		return []kgo.CompressionCodec{kgo.Lz4Compression()}
	case CompressionGzip:
		return []kgo.CompressionCodec{kgo.GzipCompression()}
	}
	// The default: next to no CPU time, and every client has it. Messages are small,
	// and most batches are: there is not much that a better one could find.
	return []kgo.CompressionCodec{kgo.SnappyCompression()}
}
