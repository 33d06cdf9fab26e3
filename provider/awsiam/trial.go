package awsiam

import (
	"context"

	"github.com/lessorhq/lessor/provider"
)

// Try is described at [provider.Account].
func (a *account) Try(context.Context, provider.Creation) provider.Trial { panic("not yet") }
