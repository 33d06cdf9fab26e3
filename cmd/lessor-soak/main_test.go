package main

import (
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m, main) }
