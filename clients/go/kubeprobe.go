// Package kubeprobe is what a probe needs to tell KubeProbe what it found; it has no dependency.
//
// A probe is a program. It reports by writing JSON to a file and by its exit code; this package does both:
//
//	func main() { kubeprobe.Main(probe) }
//
//	func probe(ctx context.Context) error {
//		var addresses []string
//		err := kubeprobe.Step("resolve", func() (err error) {
//			addresses, err = net.DefaultResolver.LookupHost(ctx, "kubernetes.default")
//			return err
//		})
//		kubeprobe.Measure("addresses", len(addresses))
//		return err
//	}
//
// Next stage: the kubelet hands the file to KubeProbe on the pod's status, where a verdict is made of it.
package kubeprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// ErrOutOfTime is the cause (context.Cause) of the end of a probe's context when the run's time is up.
var ErrOutOfTime = errors.New("the run's time is up")

// errReported is the cause of the end of a probe's context when another goroutine has reported, or on SIGTERM.
var errReported = errors.New("the probe has been told to end")

// graceAfterReport is what the function is granted for cleaning up when another goroutine has reported.
const graceAfterReport = 5 * time.Second

// this is this process's reporter: one process is one run.
var this = newReporter()

// Main runs the probe and ends the process. Every ending is an honest one:
//
//	the function                                 KubeProbe is told
//	returns nil, no step failed                  ok, exit 0
//	returns nil, though a step failed            not ok, exit 1: nobody said that the failure does not matter
//	returns an error                             not ok, exit 1, with what it says; joined errors are one each
//	panics                                       not ok, exit 1, with the message and the line; the traceback is in the log
//	does not return in time                      not ok, exit 1: the step that hangs, and for how long
//	calls ReportSuccess, ReportFailure, GiveUp   just that; what happens afterwards changes nothing
//	calls os.Exit                                nothing; its exit code
//	is ended by SIGTERM                          nothing, exit 143: the context ends, so that the probe deletes what it made
//
// Shortly before KUBEPROBE_RUN_TIMEOUT is up the context ends, so that the function can clean up and the report says
// which step hangs; if the function does not return, the report goes out nevertheless. What cleans up must not use the
// ended context: context.WithoutCancel. A panic in a goroutine outside Step ends the process, as Go has it: unknown.
func Main(probe func(context.Context) error) {
	run := Run()
	ctx, cancel := context.WithCancelCause(context.Background())
	reported := make(chan struct{})
	this.lock.Lock()
	this.stop = sync.OnceFunc(func() { cancel(errReported); close(reported) })
	this.lock.Unlock()

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done) // on runtime.Goexit too
		conclude(callSafely(ctx, probe))
	}()
	wait(run, cancel, events{done, reported, terminated})
	os.Exit(this.code())
}

// events end a probe.
type events struct {
	done       <-chan struct{} // its function has ended
	reported   <-chan struct{} // something has reported, and its function is about to end
	terminated <-chan os.Signal
}

// wait returns when the probe's function has ended, or must be left behind.
func wait(run RunInfo, cancel context.CancelCauseFunc, on events) {
	var outOfTime, tooLate <-chan time.Time // nil: never
	if run.Timeout > 0 {
		outOfTime = time.After(run.Remaining(time.Now()))
	}
	for {
		select {
		case <-on.done:
			return
		case <-on.reported:
			on.reported, tooLate = nil, time.After(graceAfterReport)
		case <-on.terminated:
			this.killed()
			cancel(errReported)
		case <-outOfTime:
			this.outOfTime(run.Timeout - run.Margin())
			cancel(ErrOutOfTime)
			tooLate = time.After(run.Margin() / 2)
		case <-tooLate:
			// The cleaning up hangs too, or the probe ignores its context: the report must still get out.
			this.write(false, nil)
			return
		}
	}
}

// callSafely calls the function; a panic becomes an error.
func callSafely(ctx context.Context, probe func(context.Context) error) (err error) {
	returned := false
	defer func() {
		if !returned {
			if panicked := recover(); panicked != nil {
				err = panicError(panicked)
			}
		}
	}()
	err = probe(ctx)
	returned = true
	return err
}

// conclude reports for a function that has ended without having reported.
func conclude(err error) {
	if err != nil {
		this.recordError(err)
	}
	this.write(err == nil && !this.failed(), nil)
}

// Step times a part of the probe and returns its error.
//
// If there is one, the step is recorded as failed and the error is reported after the step's name. A panic becomes
// such an error. Steps may be nested; the innermost one is named.
func Step(name string, do func() error) error {
	return this.step(name, do)
}

// Measure records a number to be charted. The last value of a name counts. What is not finite is an error of the report.
func Measure[N Number](name string, value N) {
	written, finite := number(value)
	if !finite {
		this.recordError(fmt.Errorf("measure(%q, %s): expected a finite number", name, written))
		return
	}
	this.measure(name, written)
}

// ReportSuccess reports that all is well and ends the probe with 0.
//
// Like ReportFailure and GiveUp it does not return. Deferred calls run, those of Main's function too if another
// goroutine reports: its context ends. Without Main, the process ends at once.
// A step that failed, but whose error the probe handled, stays in the list of steps.
func ReportSuccess() {
	this.write(true, nil)
	this.end()
}

// ReportFailure reports why the thing probed is broken and ends the probe with 1. Errors of failed steps follow after
// the given ones.
func ReportFailure(failures []string) {
	this.write(false, failures)
	this.end()
}

// GiveUp reports that the probe could not find out (a permission is missing, say), and ends it with 2.
//
// The verdict is unknown, with this reason: it neither passes nor raises the alarm for a failure.
func GiveUp(reason string) {
	this.giveUp(reason)
	this.end()
}
