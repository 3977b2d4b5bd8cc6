package report_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kubeprobe.io/client/internal/report"
	"kubeprobe.io/client/internal/vector"
)

func TestReportsMatchTheSharedVectors(t *testing.T) {
	text, err := os.ReadFile("../../../vectors/reports.json")
	if os.IsNotExist(err) {
		t.Skip("clients/vectors is missing: this is a copy of the client alone")
	}
	var vectors []vector.Report
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("clients/vectors/reports.json cannot be read: %v", err)
	}
	for _, one := range vectors {
		t.Run(one.Name, func(t *testing.T) {
			if found := string(one.Encode()); found != one.Bytes {
				t.Errorf("found\n%q, expected\n%q", found, one.Bytes)
			}
		})
	}
}

func FuzzReportIsValidJSONWithinTheLimit(f *testing.F) {
	f.Add(true, "short", 1, uint16(0))
	f.Add(false, "\xff\x00漢\"", 700, uint16(3584))
	f.Fuzz(func(t *testing.T, ok bool, text string, times int, more uint16) {
		limit := 512 + int(more)%(report.Limit-511)
		long := strings.Repeat(text, max(times, -times)%1000)
		made := report.Report{
			OK:      ok,
			Errors:  []string{long, text, long},
			Steps:   []report.Step{{Name: long, Ms: 1.05, OK: ok}},
			Metrics: []report.Metric{{Name: long, Value: report.Float(float64(times))}},
		}
		for _, encoded := range [][]byte{made.Encode(limit), report.EncodeUnknown(long, limit)} {
			if len(encoded) > limit || !json.Valid(encoded) {
				t.Errorf("%d bytes of %d: %q", len(encoded), limit, encoded)
			}
		}
	})
}
