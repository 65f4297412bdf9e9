// Command coredns is CoreDNS with only the plugins that the test cluster uses.
//
// The stock binary links every cloud's SDK; this one builds in a fraction of
// the time and answers for the cluster's own names only.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func init() {
	// The order is the order in which a query passes the plugins. `template` is
	// last: it says NXDOMAIN for every name that is not the cluster's. Without
	// an answer from the last plugin CoreDNS says SERVFAIL, and every lookup
	// that walks a pod's search list waits for retries.
	dnsserver.Directives = []string{
		"reload", "errors", "health", "ready", "cache", "kubernetes", "template",
	}
}

func main() {
	coremain.Run()
}
