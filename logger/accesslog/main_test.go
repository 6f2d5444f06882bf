package accesslog

import (
	"io"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLog(w io.Writer) zerolog.Logger { return zerolog.New(w) }
