// Package kubeprobe reports a probe's result to KubeProbe; it has no dependencies.
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
// The kubelet copies the file into the pod's status (termination message); KubeProbe derives the verdict from it.
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

// ErrOutOfTime is the cause (context.Cause) with which a probe's context is cancelled when the run's time is up.
var ErrOutOfTime = errors.New("the run's time is up")

// errStopped is the cause with which a probe's context is cancelled after another goroutine has reported, or on SIGTERM.
var errStopped = errors.New("the probe must stop")

// graceAfterReport is the time that the function has for cleanup after another goroutine has reported.
const graceAfterReport = 5 * time.Second

// this is the reporter of this process: one process is one run.
var this = newReporter()

// Main runs the probe, reports its result and exits:
//
//	the function                                 the report
//	returns nil, and no step failed              ok, exit 0
//	returns nil although a step failed           not ok, exit 1, unless the probe calls ReportSuccess
//	returns an error                             not ok, exit 1, with its text; joined errors are one each
//	panics                                       not ok, exit 1, with the message and the line; the traceback is in the log
//	does not return in time                      not ok, exit 1, with the step that hangs, and for how long
//	calls ReportSuccess, ReportFailure, GiveUp   that report; the first one is final
//	calls os.Exit                                none; its exit code
//	receives SIGTERM                             none, exit 143; the context is cancelled, so that the probe can clean up
//
// Shortly before KUBEPROBE_RUN_TIMEOUT expires the context is cancelled, so that the function can clean up and the
// report names the step that hangs; if the function does not return, the report is written anyway. Cleanup must not use
// the cancelled context, but context.WithoutCancel. A panic in a goroutine outside of Step ends the process: unknown.
func Main(probe func(context.Context) error) {
	run := Run()
	ctx, cancel := context.WithCancelCause(context.Background())
	reported := make(chan struct{})
	this.lock.Lock()
	this.stop = sync.OnceFunc(func() { cancel(errStopped); close(reported) })
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

// events are what ends a probe.
type events struct {
	done       <-chan struct{} // its function has ended
	reported   <-chan struct{} // something has reported, and its function is about to end
	terminated <-chan os.Signal
}

// wait returns when the probe's function has ended, or must be abandoned.
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
			cancel(errStopped)
		case <-outOfTime:
			this.outOfTime(run.Timeout - run.Margin())
			cancel(ErrOutOfTime)
			tooLate = time.After(run.Margin() / 2)
		case <-tooLate:
			// The cleanup hangs too, or the probe ignores its context: report anyway.
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

// conclude reports the result of a function that has ended without a report.
func conclude(err error) {
	if err != nil {
		this.recordError(err)
	}
	this.write(err == nil && !this.failed(), nil)
}

// Step times a part of the probe and returns its error.
//
// An error marks the step as failed and is reported after the step's name. A panic becomes such an error. Steps may be
// nested; the error has the innermost one's name.
func Step(name string, do func() error) error {
	return this.step(name, do)
}

// Measure records a number for charts. The last value of a name counts. A value that is not finite is an error of the
// report.
func Measure[N Number](name string, value N) {
	written, finite := number(value)
	if !finite {
		this.recordError(fmt.Errorf("measure(%q, %s): expected a finite number", name, written))
		return
	}
	this.measure(name, written)
}

// ReportSuccess reports success and ends the probe with exit code 0.
//
// Like ReportFailure and GiveUp it does not return. Deferred calls run; if another goroutine than Main's function
// reports, the context is cancelled, so that the function can clean up. Without Main, the process ends at once.
// A failed step whose error the probe handled stays in the list of steps.
func ReportSuccess() {
	this.write(true, nil)
	this.end()
}

// ReportFailure reports why the target is broken and ends the probe with exit code 1. Errors of failed steps follow after
// the given ones.
func ReportFailure(failures []string) {
	this.write(false, failures)
	this.end()
}

// GiveUp reports that the probe could not check the target (a permission is missing, say), and ends it with exit code 2.
//
// The verdict is unknown, with this reason: neither a pass nor a failure.
func GiveUp(reason string) {
	this.giveUp(reason)
	this.end()
}
