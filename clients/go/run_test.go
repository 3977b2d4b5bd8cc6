package kubeprobe_test

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"testing"
	"time"

	kubeprobe "kubeprobe.io/client"
)

// runVector is an environment and its expected run.
type runVector struct {
	Name        string
	Environment map[string]string
	Started     time.Time
	Run         struct {
		ID, Installation, Case, Cluster, Trigger, Namespace, PodName, PodUID, Node string

		Parameters, Labels    map[string]string
		Timeout               *float64
		Margin                float64
		Deadline              *time.Time
		Owner, OwnerElsewhere *kubeprobe.OwnerReference
		Remaining             map[string]*float64
	}
}

func TestRunsMatchTheSharedVectors(t *testing.T) {
	text, err := os.ReadFile("../vectors/runs.json")
	if os.IsNotExist(err) {
		t.Skip("clients/vectors is not here: this is a copy of the client alone")
	}
	var vectors []runVector
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("clients/vectors/runs.json cannot be read: %v", err)
	}
	for _, one := range vectors {
		t.Run(one.Name, one.check)
	}
}

func (v runVector) check(t *testing.T) {
	getenv := func(name string) string { return v.Environment[name] }
	run, expected := kubeprobe.RunFrom(getenv, v.Started), v.Run
	same := func(what string, found, expected any) {
		t.Helper()
		if !reflect.DeepEqual(found, expected) {
			t.Errorf("%s: found %#v, expected %#v", what, found, expected)
		}
	}
	same("id", run.ID, expected.ID)
	same("installation", run.Installation, expected.Installation)
	same("case", run.Case, expected.Case)
	same("cluster", run.Cluster, expected.Cluster)
	same("trigger", run.Trigger, expected.Trigger)
	same("namespace", run.Namespace, expected.Namespace)
	same("pod's name", run.PodName, expected.PodName)
	same("pod's uid", run.PodUID, expected.PodUID)
	same("node", run.Node, expected.Node)
	same("parameters", run.Parameters, expected.Parameters)
	same("labels", run.Labels(), expected.Labels)
	same("owner", run.OwnerReference(run.Namespace), expected.Owner)
	same("owner elsewhere", run.OwnerReference("some-other-namespace"), expected.OwnerElsewhere)
	same("margin", run.Margin().Seconds(), expected.Margin)
	if expected.Timeout == nil {
		same("time-out", run.Timeout, time.Duration(0))
		same("deadline", run.Deadline, time.Time{})
	} else {
		same("time-out", run.Timeout.Seconds(), *expected.Timeout)
		same("deadline", run.Deadline, expected.Deadline.UTC())
	}
	for now, seconds := range expected.Remaining {
		moment, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if seconds == nil {
			same("remaining", run.Remaining(moment), time.Duration(math.MaxInt64))
		} else {
			same("remaining", run.Remaining(moment).Seconds(), *seconds)
		}
	}
}
