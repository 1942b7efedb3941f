// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package programs names the CRI-O that get-programs builds.
package programs

import (
	_ "github.com/cri-o/cri-o/cmd/crio"
)
