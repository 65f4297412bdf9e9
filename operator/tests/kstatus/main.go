// Computes the status of objects as Flux, Argo CD and kpt do: with the kstatus library itself. Reads a JSON array
// of objects, prints a JSON array with a status for each: Current, InProgress, Failed, Terminating.
package main

import (
	"io"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	// Kubernetes' own decoder: kstatus wants whole numbers, which the standard library reads as floats.
	var objects []any
	if err := json.Unmarshal(input, &objects); err != nil {
		log.Fatal(err)
	}
	computed := make([]string, 0, len(objects))
	for _, object := range objects {
		fields, ok := object.(map[string]any)
		if !ok {
			log.Fatalf("no object: %v", object)
		}
		result, err := status.Compute(&unstructured.Unstructured{Object: fields})
		if err != nil {
			log.Fatal(err)
		}
		computed = append(computed, result.Status.String())
	}
	output, err := json.Marshal(computed)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(output); err != nil {
		log.Fatal(err)
	}
}
