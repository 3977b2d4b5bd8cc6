package kubeprobe_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	kubeprobe "kubeprobe.io/client"
)

const probeVariable = "KUBEPROBE_TEST_PROBE"

// probes are run by this test's own program, started again with the name of one in its environment.
var probes = map[string]func(context.Context) error{
	"returns": func(context.Context) error {
		kubeprobe.Measure("answers", 3)
		kubeprobe.Measure("share", 1.0)
		kubeprobe.Measure("waited", 2*time.Nanosecond)
		return kubeprobe.Step("look", func() error { return nil })
	},
	"ignores a failed step": func(context.Context) error {
		_ = kubeprobe.Step("look", func() error { return io.ErrUnexpectedEOF })
		return nil
	},
	"returns a step's error": func(context.Context) error {
		return kubeprobe.Step("outer", func() error {
			err := kubeprobe.Step("inner", func() error { return io.EOF })
			return fmt.Errorf("wrapped: %w", err)
		})
	},
	"fails twice alike": func(context.Context) error {
		one := kubeprobe.Step("one", func() error { return io.EOF })
		other := kubeprobe.Step("other", func() error { return io.EOF })
		return errors.Join(one, other, errors.New("and this"))
	},
	"finds culprits": func(context.Context) error {
		return kubeprobe.Step("look", func() error { return kubeprobe.CheckFailed("a is broken", "b is broken") })
	},
	"panics": func(context.Context) error {
		var nothing map[string]int
		nothing["x"] = 1
		return nil
	},
	"panics in a step": func(context.Context) error {
		_ = kubeprobe.Step("look", func() error { panic("no such thing") })
		return nil
	},
	"measures nonsense": func(context.Context) error {
		kubeprobe.Measure("share", math.NaN())
		return nil
	},
	"reports success": func(context.Context) error {
		defer fmt.Println("cleaned up")
		_ = kubeprobe.Step("look", func() error { return io.EOF })
		kubeprobe.ReportSuccess()
		panic("not reached")
	},
	"reports failure": func(context.Context) error {
		defer kubeprobe.ReportSuccess() // too late
		_ = kubeprobe.Step("look", func() error { return io.EOF })
		kubeprobe.ReportFailure([]string{" this ", "that", "this"})
		return nil
	},
	"reports failure without a reason": func(context.Context) error {
		kubeprobe.ReportFailure(nil)
		return nil
	},
	"gives up": func(context.Context) error {
		kubeprobe.GiveUp("permission missing: list pods in shop")
		return nil
	},
	"reports failure in a goroutine": func(ctx context.Context) error {
		defer fmt.Println("cleaned up")
		go kubeprobe.ReportFailure([]string{"seen elsewhere"})
		<-ctx.Done()
		return ctx.Err()
	},
	"exits": func(context.Context) error {
		os.Exit(7)
		return nil
	},
	"hangs": func(ctx context.Context) error {
		defer fmt.Println("cleaned up")
		return kubeprobe.Step("wait ready", func() error {
			<-ctx.Done()
			return ctx.Err()
		})
	},
	"hangs for ever": func(context.Context) error {
		return kubeprobe.Step("stubborn", func() error { select {} })
	},
	"waits": func(ctx context.Context) error {
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("cleaned up")
		return ctx.Err()
	},
}

func TestMain(m *testing.M) {
	if name := os.Getenv(probeVariable); name != "" {
		kubeprobe.Main(probes[name])
	}
	os.Exit(m.Run())
}

// ended is how a probe ended.
type ended struct {
	code     int
	out, err string
	raw      []byte
	report   struct {
		OK        *bool
		Errors    []string
		Unknown   string
		Truncated bool
		Steps     []struct {
			Name string
			OK   bool
		}
	}
}

func runProbe(t *testing.T, name string, environment ...string) ended {
	t.Helper()
	probe := prepare(t, name, environment...)
	probe.start()
	return probe.finish()
}

type running struct {
	t           *testing.T
	command     *exec.Cmd
	out, errors bytes.Buffer
	file        string
}

func prepare(t *testing.T, name string, environment ...string) *running {
	t.Helper()
	found := &running{t: t, command: exec.Command(os.Args[0]), file: filepath.Join(t.TempDir(), "report")}
	found.command.Env = append(os.Environ(), probeVariable+"="+name, "KUBEPROBE_REPORT_FILE="+found.file)
	found.command.Env = append(found.command.Env, environment...)
	found.command.Stdout, found.command.Stderr = &found.out, &found.errors
	return found
}

func (r *running) start() {
	r.t.Helper()
	if err := r.command.Start(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) finish() ended {
	r.t.Helper()
	var exit *exec.ExitError
	if err := r.command.Wait(); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	found := ended{code: r.command.ProcessState.ExitCode(), out: r.out.String(), err: r.errors.String()}
	found.raw, _ = os.ReadFile(r.file)
	if len(found.raw) > 0 {
		if err := json.Unmarshal(found.raw, &found.report); err != nil {
			r.t.Fatalf("%q: %v", found.raw, err)
		}
	}
	return found
}

func (e ended) expect(t *testing.T, code int, errors ...string) {
	t.Helper()
	if e.code != code {
		t.Errorf("exit code %d, expected %d; %s", e.code, code, e.err)
	}
	if found, expected := strings.Join(e.report.Errors, "|"), strings.Join(errors, "|"); found != expected {
		t.Errorf("errors %q, expected %q", found, expected)
	}
	if ok := e.report.OK; e.report.Unknown == "" && (ok == nil || *ok != (code == 0)) {
		t.Errorf("report %s with exit code %d", e.raw, code)
	}
}

func TestAFunctionThatReturnsIsASuccess(t *testing.T) {
	found := runProbe(t, "returns")
	found.expect(t, 0)
	if !strings.Contains(string(found.raw), `"metrics":{"answers":3,"share":1.0,"waited":2}`) {
		t.Errorf("report: %s", found.raw)
	}
	if !strings.HasPrefix(found.out, "PASS\n  step:  look ok ") {
		t.Errorf("log: %s", found.out)
	}
}

func TestAFailedStepIsAFailure(t *testing.T) {
	runProbe(t, "ignores a failed step").expect(t, 1, "look: unexpected EOF")
}

func TestAnErrorIsReportedOnceWithTheInnermostStep(t *testing.T) {
	found := runProbe(t, "returns a step's error")
	found.expect(t, 1, "inner: EOF")
	if steps := found.report.Steps; len(steps) != 2 || steps[0].OK || steps[1].OK {
		t.Errorf("steps: %s", found.raw)
	}
}

func TestTheSameErrorOfTwoStepsIsReportedForBoth(t *testing.T) {
	runProbe(t, "fails twice alike").expect(t, 1, "one: EOF", "other: EOF", "and this")
}

func TestEachTextOfCheckFailedIsAnError(t *testing.T) {
	runProbe(t, "finds culprits").expect(t, 1, "look: a is broken", "look: b is broken")
}

func TestAPanicIsAFailureWithItsLineAndTheTracebackIsInTheLog(t *testing.T) {
	found := runProbe(t, "panics")
	if len(found.report.Errors) != 1 {
		t.Fatalf("report: %s", found.raw)
	}
	found.expect(t, 1, found.report.Errors[0])
	line := regexp.MustCompile(`^panic: assignment to entry in nil map \(kubeprobe_test\.go:\d+\)$`)
	if !line.MatchString(found.report.Errors[0]) || !strings.Contains(found.err, "goroutine ") {
		t.Errorf("error %q, log %q", found.report.Errors[0], found.err)
	}
}

func TestAPanicInAStepNamesTheStep(t *testing.T) {
	found := runProbe(t, "panics in a step")
	line := regexp.MustCompile(`^look: panic: no such thing \(kubeprobe_test\.go:\d+\)$`)
	if found.code != 1 || len(found.report.Errors) != 1 || !line.MatchString(found.report.Errors[0]) {
		t.Errorf("exit code %d, report %s", found.code, found.raw)
	}
}

func TestAMeasurementThatIsNotFiniteIsAFailure(t *testing.T) {
	runProbe(t, "measures nonsense").expect(t, 1, `measure("share", NaN): expected a finite number`)
}

func TestAReportedSuccessIsFinalAndDeferredCallsRun(t *testing.T) {
	found := runProbe(t, "reports success")
	found.expect(t, 0)
	if !strings.Contains(found.out, "cleaned up") || found.report.Steps[0].OK {
		t.Errorf("log %q, report %s", found.out, found.raw)
	}
}

func TestAReportedFailureIsFinal(t *testing.T) {
	runProbe(t, "reports failure").expect(t, 1, "this", "that", "look: EOF")
}

func TestAFailureWithoutAReasonHasADefaultError(t *testing.T) {
	runProbe(t, "reports failure without a reason").expect(t, 1, "the probe reported a failure without a reason")
}

func TestGivingUpIsUnknown(t *testing.T) {
	found := runProbe(t, "gives up")
	if found.code != 2 || string(found.raw) != `{"unknown":"permission missing: list pods in shop"}` {
		t.Errorf("exit code %d, report %s", found.code, found.raw)
	}
}

func TestAReportOfAGoroutineEndsTheProbeWhichCleansUp(t *testing.T) {
	found := runProbe(t, "reports failure in a goroutine")
	found.expect(t, 1, "seen elsewhere")
	if !strings.Contains(found.out, "cleaned up") {
		t.Errorf("log: %q", found.out)
	}
}

func TestOSExitReportsNothing(t *testing.T) {
	if found := runProbe(t, "exits"); found.code != 7 || len(found.raw) > 0 {
		t.Errorf("exit code %d, report %s", found.code, found.raw)
	}
}

func TestAStepThatHangsIsNamedAndTheProbeCleansUp(t *testing.T) {
	found := runProbe(t, "hangs", "KUBEPROBE_RUN_TIMEOUT=1")
	found.expect(t, 1, "step 'wait ready' did not finish within 0.5 s")
	if !strings.Contains(found.out, "cleaned up") {
		t.Errorf("log: %q", found.out)
	}
}

func TestAProbeThatIgnoresItsContextIsReportedAnyway(t *testing.T) {
	runProbe(t, "hangs for ever", "KUBEPROBE_RUN_TIMEOUT=1").expect(t, 1, "step 'stubborn' did not finish within 0.5 s")
}

func TestAKilledProbeReportsNothingAndCleansUp(t *testing.T) {
	probe := prepare(t, "waits")
	probe.command.Stdout = nil
	out, err := probe.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	probe.start()
	lines := bufio.NewReader(out)
	if word, err := lines.ReadString('\n'); word != "waiting\n" {
		t.Fatal(word, err)
	}
	if err := probe.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	found := probe.finish()
	if found.code != 143 || len(found.raw) > 0 || !strings.Contains(string(rest), "cleaned up") {
		t.Errorf("exit code %d, report %q, log %q", found.code, found.raw, rest)
	}
}

func TestAFailureToWriteTheReportIsLogged(t *testing.T) {
	found := runProbe(t, "gives up", "KUBEPROBE_REPORT_FILE=/nowhere/at/all")
	if found.code != 2 || !strings.Contains(found.out, "cannot write the report to KUBEPROBE_REPORT_FILE=/nowhere") {
		t.Errorf("exit code %d, log %q", found.code, found.out)
	}
}
