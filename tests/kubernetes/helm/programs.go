// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package programs names the Helm that get-programs builds.
package programs

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
