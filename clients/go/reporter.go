package kubeprobe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"kubeprobe.io/client/internal/report"
)

const (
	exitOK      = 0
	exitFailed  = 1
	exitGaveUp  = 2
	exitKilled  = 143
	notReported = -1
)

// Number is the type of a measurement: any integer or float.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

type step struct {
	name    string
	started time.Time
	took    time.Duration
	open    bool
	ok      bool
}

// stepError is a step's error, which has been recorded and must not be recorded again when it is returned further.
type stepError struct {
	name  string
	cause error
}

func (e *stepError) Error() string { return e.name + ": " + e.cause.Error() }
func (e *stepError) Unwrap() error { return e.cause }

// reporter collects a probe's steps, measurements and errors, and writes its single report. The first report is final.
type reporter struct {
	lock     sync.Mutex
	steps    []*step
	metrics  []report.Metric
	indices  map[string]int // of measurements, by name
	errors   []string
	exitCode int
	// late: the run's time is up, which has been recorded; errors of cancelled contexts are no longer recorded.
	late bool
	// stop is set by Main: it ends the probe's function after another goroutine has reported.
	stop func()
}

func newReporter() *reporter {
	return &reporter{exitCode: notReported, indices: map[string]int{}}
}

func (r *reporter) step(name string, do func() error) (result error) {
	current := &step{name: name, started: time.Now(), open: true}
	r.lock.Lock()
	r.steps = append(r.steps, current)
	r.lock.Unlock()
	returned := false
	defer func() {
		if !returned {
			if panicked := recover(); panicked != nil {
				result = panicError(panicked)
			}
		}
		result = r.endStep(current, result)
	}()
	result = do()
	returned = true
	return result
}

func (r *reporter) endStep(current *step, err error) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	current.open, current.took = false, time.Since(current.started)
	current.ok = err == nil
	if err == nil {
		return nil
	}
	r.record(current.name, err)
	return &stepError{current.name, err}
}

// record adds an error to the errors; only once, even if it passes through several steps. The caller holds the lock.
func (r *reporter) record(name string, err error) {
	if r.late && isCancellation(err) {
		return
	}
	for _, text := range describe(err) {
		if name != "" {
			text = name + ": " + text
		}
		r.errors = append(r.errors, text)
	}
}

func (r *reporter) recordError(err error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.record("", err)
}

func (r *reporter) measure(name string, value report.Number) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if index, known := r.indices[name]; known {
		r.metrics[index].Value = value
		return
	}
	r.indices[name] = len(r.metrics)
	r.metrics = append(r.metrics, report.Metric{Name: name, Value: value})
}

func (r *reporter) failed() bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	return len(r.errors) > 0
}

// outOfTime records that the current step, or else the probe, took too long.
func (r *reporter) outOfTime(used time.Duration) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.late = true
	what := "the probe"
	for _, step := range r.steps {
		if step.open {
			what = "step '" + step.name + "'"
		}
	}
	seconds := strconv.FormatFloat(math.Round(used.Seconds()*10)/10, 'g', 6, 64)
	r.errors = append(r.errors, fmt.Sprintf("%s did not finish within %s s", what, seconds))
}

// killed suppresses every later report: the probe was killed before it had a result.
func (r *reporter) killed() {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.exitCode == notReported {
		r.exitCode = exitKilled
	}
}

// write writes the report, unless there is one already.
func (r *reporter) write(ok bool, failures []string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.exitCode != notReported {
		return
	}
	found := report.Report{OK: ok, Metrics: r.metrics}
	r.exitCode = exitOK
	if !ok {
		r.exitCode = exitFailed
		found.Errors = unique(failures, r.errors)
	}
	for _, step := range r.steps {
		took, fine := step.took, step.ok
		if step.open {
			took, fine = time.Since(step.started), ok
		}
		found.Steps = append(found.Steps, report.Step{Name: step.name, Ms: float64(took) / 1e6, OK: fine})
	}
	publish(found.Encode(report.Limit), summary(found))
}

func (r *reporter) giveUp(reason string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.exitCode != notReported {
		return
	}
	r.exitCode = exitGaveUp
	if reason = trim(reason); reason == "" {
		reason = "the probe gave up without a reason"
	}
	publish(report.EncodeUnknown(reason, report.Limit), "UNKNOWN: "+reason)
}

func (r *reporter) code() int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.exitCode
}

// end ends this goroutine and the probe; deferred calls run, so that the probe can clean up.
func (r *reporter) end() {
	r.lock.Lock()
	code, stop := r.exitCode, r.stop
	r.lock.Unlock()
	if stop == nil {
		os.Exit(code)
	}
	stop()
	runtime.Goexit()
}

// CheckFailed returns an error for a broken target; each text is an error of the report.
func CheckFailed(texts ...string) error {
	failures := make([]error, 0, len(texts))
	for _, text := range unique(texts) {
		failures = append(failures, errors.New(text))
	}
	return errors.Join(failures...)
}

// isCancellation reports whether an error only means that the context was cancelled.
func isCancellation(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, ErrOutOfTime)
}

// describe returns the texts of an error; joined errors are one each, and errors recorded by a step are left out.
func describe(err error) []string {
	if joined := joinedErrors(err); joined != nil {
		var texts []string
		for _, one := range joined {
			texts = append(texts, describe(one)...)
		}
		return texts
	}
	var recorded *stepError
	if errors.As(err, &recorded) {
		return nil
	}
	if text := trim(err.Error()); text != "" {
		return []string{text}
	}
	return []string{fmt.Sprintf("%T", err)}
}

// joinedErrors returns the errors combined by errors.Join; nil for any other error.
func joinedErrors(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	found := joined.Unwrap()
	lines := make([]string, len(found))
	for index, one := range found {
		lines[index] = one.Error()
	}
	if strings.Join(lines, "\n") != err.Error() {
		return nil
	}
	return found
}

// panicError converts a panic to an error with its line, and logs the traceback. Called in a deferred function.
func panicError(panicked any) error {
	fmt.Fprintf(os.Stderr, "panic: %v\n\n%s", panicked, debug.Stack())
	text := fmt.Sprintf("panic: %v", panicked)
	if location := panicLocation(); location != "" {
		text += " (" + location + ")"
	}
	return errors.New(text)
}

// panicLocation returns the line that panicked: the first one below the runtime's own frames.
func panicLocation() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	below := false
	for {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if below && !inRuntime {
			return fmt.Sprintf("%s:%d", frame.File[strings.LastIndexByte(frame.File, '/')+1:], frame.Line)
		}
		below = below || frame.Function == "runtime.gopanic"
		if !more {
			return ""
		}
	}
}

// unique returns the texts of all lists without duplicates, and a default text if there is none.
func unique(lists ...[]string) []string {
	var texts []string
	seen := map[string]bool{"": true}
	for _, list := range lists {
		for _, text := range list {
			if text = trim(text); !seen[text] {
				seen[text] = true
				texts = append(texts, text)
			}
		}
	}
	if texts == nil {
		return []string{"the probe reported a failure without a reason"}
	}
	return texts
}

// trim removes the white space that Python's strip does.
func trim(text string) string {
	return strings.TrimFunc(text, func(char rune) bool {
		return unicode.IsSpace(char) || 0x1c <= char && char <= 0x1f
	})
}

// number formats a measurement; false if it is not finite.
func number[N Number](value N) (report.Number, bool) {
	switch found := reflect.ValueOf(value); {
	case found.CanInt():
		return report.Number(strconv.FormatInt(found.Int(), 10)), true
	case found.CanUint():
		return report.Number(strconv.FormatUint(found.Uint(), 10)), true
	case math.IsNaN(found.Float()) || math.IsInf(found.Float(), 0):
		return report.Number(fmt.Sprint(found.Float())), false
	default:
		return report.Float(found.Float()), true
	}
}

// publish writes the message to the report file, and the summary to the log.
func publish(message []byte, summary string) {
	if path := os.Getenv("KUBEPROBE_REPORT_FILE"); path != "" {
		if err := writeOnce(path, message); err != nil {
			summary += fmt.Sprintf("\ncannot write the report to KUBEPROBE_REPORT_FILE=%s: %v", path, err)
		}
	}
	fmt.Fprintln(os.Stdout, summary)
}

// writeOnce uses a single write, so that a reader sees all of it or nothing. The file is a mount, so it cannot be replaced.
func writeOnce(path string, message []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(message)
	return errors.Join(err, file.Close())
}

func summary(found report.Report) string {
	lines := []string{"FAIL"}
	if found.OK {
		lines[0] = "PASS"
	}
	for _, text := range found.Errors {
		lines = append(lines, "  error: "+text)
	}
	for _, step := range found.Steps {
		word := "FAILED"
		if step.OK {
			word = "ok"
		}
		lines = append(lines, fmt.Sprintf("  step:  %s %s %.1f ms", step.Name, word, step.Ms))
	}
	for _, metric := range found.Metrics {
		lines = append(lines, fmt.Sprintf("  %s = %s", metric.Name, metric.Value))
	}
	return strings.Join(lines, "\n")
}
