package console

import (
	"testing"

	"processor/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }
