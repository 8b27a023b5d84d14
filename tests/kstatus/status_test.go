// Package kstatus holds what the operator writes to the judgement of kstatus, which Helm, Flux and
// others wait by. It is the implementation that they use, not one of ours.
package kstatus

import (
	"encoding/json"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Fewest cases: the rows of the table in LIFECYCLE 5, and what lies between them.
const fewest = 20

type row struct {
	Case   string          `json:"case"`
	Wanted status.Status   `json:"wanted"`
	Object json.RawMessage `json:"object"`
}

func TestWhatTheOperatorWritesMeansToKstatusWhatTheTableSays(t *testing.T) {
	text, err := os.ReadFile("statuses.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) < fewest {
		t.Fatalf("only %d cases", len(rows))
	}
	seen := map[status.Status]bool{}
	for _, row := range rows {
		t.Run(row.Case, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			if err := object.UnmarshalJSON(row.Object); err != nil {
				t.Fatal(err)
			}
			result, err := status.Compute(object)
			if err != nil {
				t.Fatal(err)
			}
			if result.Status != row.Wanted {
				t.Errorf("%s, wanted %s: %s", result.Status, row.Wanted, result.Message)
			}
			if row.Wanted == status.FailedStatus && result.Message == "" {
				t.Error("a failure without a message")
			}
		})
		seen[row.Wanted] = true
	}
	for _, wanted := range []status.Status{status.InProgressStatus, status.CurrentStatus, status.FailedStatus, status.TerminatingStatus} {
		if !seen[wanted] {
			t.Errorf("no case is %s", wanted)
		}
	}
}
