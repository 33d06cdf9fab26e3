package awsiam

import (
	"fmt"
	"os"
	"testing"

	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// TestMain unsets AWS's environment variables, which are the developer's.
func TestMain(m *testing.M) {
	if err := awstest.UnsetAWS(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
