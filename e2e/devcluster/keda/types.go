//go:build types

// Package keda names the package whose definitions are generated, for `go mod tidy`; it is never built.
package keda

import _ "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
