// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package programs names the runc that get-programs builds: one that gives pods user namespaces, which Debian 12's does not.
package programs

import (
	_ "github.com/opencontainers/runc"
)
