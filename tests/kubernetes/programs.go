// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package programs names the programs of Kubernetes that get-programs builds, so that go.mod has what they need.
package programs

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
