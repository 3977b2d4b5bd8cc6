package kubeprobe

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of starttime in /proc/self/stat: USER_HZ, 100 on every platform that Go and Kubernetes share.
const ticksPerSecond = 100

var initialised = time.Now()

// RunInfo is one execution of a probe. Fields that KubeProbe did not set are empty.
type RunInfo struct {
	ID           string
	Installation string
	Case         string
	Cluster      string
	// Trigger is why the run exists: periodic, change or manual.
	Trigger string
	// Namespace is the namespace of the probe's own pod.
	Namespace string
	PodName   string
	PodUID    string
	// Node is the node that the pod runs on; the subject of a node probe.
	Node string
	// Parameters are the values by name, from template, case, render config and manual request; the last one takes
	// precedence.
	Parameters map[string]string
	// Timeout is how long the probe may run, from its container's start; 0 means no time-out.
	Timeout time.Duration
	// Deadline is when KubeProbe kills the probe (UTC); the zero time without a time-out.
	Deadline time.Time
}

// OwnerReference is an ownerReference to the probe's own pod, in Kubernetes' JSON.
type OwnerReference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

// Run returns the run of this process, from the environment that KubeProbe sets in the probe's container.
//
// Everything is optional: a probe that is started by hand has a run without an id and without a deadline.
func Run() RunInfo {
	return RunFrom(os.Getenv, processStart())
}

// RunFrom returns the run that an environment describes; started is the container's start.
func RunFrom(getenv func(string) string, started time.Time) RunInfo {
	run := RunInfo{
		ID:           getenv("KUBEPROBE_RUN_ID"),
		Installation: getenv("KUBEPROBE_INSTALLATION"),
		Case:         getenv("KUBEPROBE_CASE"),
		Cluster:      getenv("KUBEPROBE_CLUSTER"),
		Trigger:      getenv("KUBEPROBE_TRIGGER"),
		Namespace:    getenv("KUBEPROBE_NAMESPACE"),
		PodName:      getenv("KUBEPROBE_POD_NAME"),
		PodUID:       getenv("KUBEPROBE_POD_UID"),
		Node:         getenv("KUBEPROBE_NODE"),
		Parameters:   map[string]string{},
		Timeout:      timeout(getenv("KUBEPROBE_RUN_TIMEOUT")),
	}
	for _, name := range strings.Split(getenv("KUBEPROBE_PARAMETERS"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			run.Parameters[name] = getenv(name)
		}
	}
	if run.Timeout > 0 {
		run.Deadline = started.UTC().Add(run.Timeout)
	}
	return run
}

// Margin is the time reserved at the end for cleanup and the report: a tenth of the time-out, at least 2 s and at most
// 10 s, but never more than half of it.
func (r RunInfo) Margin() time.Duration {
	return min(max(r.Timeout/10, 2*time.Second), 10*time.Second, r.Timeout/2)
}

// Remaining is the time left for the probe, without the margin; never below 0. Without a deadline it is the longest
// Duration.
func (r RunInfo) Remaining(now time.Time) time.Duration {
	if r.Deadline.IsZero() {
		return math.MaxInt64
	}
	return max(r.Deadline.Sub(now)-r.Margin(), 0)
}

// Labels are for all objects that the probe creates; by them KubeProbe finds and deletes leftovers.
func (r RunInfo) Labels() map[string]string {
	labels := map[string]string{}
	if r.Installation != "" {
		labels["kubeprobe.io/installation"] = r.Installation
	}
	if r.ID != "" {
		labels["kubeprobe.io/run"] = r.ID
	}
	return labels
}

// OwnerReference refers to the probe's own pod, so that Kubernetes deletes an object of this namespace with the pod.
//
// It is nil if the pod is unknown or in another namespace: Kubernetes immediately deletes an object whose owner is in
// another namespace.
func (r RunInfo) OwnerReference(namespace string) *OwnerReference {
	if r.PodName == "" || r.PodUID == "" || namespace != r.Namespace {
		return nil
	}
	return &OwnerReference{APIVersion: "v1", Kind: "Pod", Name: r.PodName, UID: r.PodUID}
}

func timeout(text string) time.Duration {
	if text == "" {
		return 0
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(0 < seconds && seconds < 1e9) {
		fmt.Fprintf(os.Stderr, "KUBEPROBE_RUN_TIMEOUT=%q ignored: expected seconds, such as 90\n", text)
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// processStart is the start of this process, which in a container is the container's start.
func processStart() time.Time {
	uptime, err := bootSeconds()
	if err != nil {
		return initialised // not Linux: without the time before main
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return initialised
	}
	// The second field is the program's name, which may contain spaces; starttime is field 22 (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return initialised
	}
	ticks, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		return initialised
	}
	age := max(uptime-ticks/ticksPerSecond, 0)
	return time.Now().Add(-time.Duration(age * float64(time.Second)))
}

func bootSeconds() (float64, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}
