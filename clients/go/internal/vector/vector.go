// Package vector reads the test vectors in clients/vectors, which every client library must pass.
package vector

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"kubeprobe.io/client/internal/report"
)

// Report is an input and its exact encoding.
type Report struct {
	Name    string
	Report  *input
	Unknown *text
	Limit   int
	Bytes   string
}

type input struct {
	OK      bool
	Errors  []text
	Steps   []step
	Metrics []metric
}

// text is a JSON string, {"hex": bytes} or {"repeat": text, "times": count}.
type text string

type step report.Step

type metric report.Metric

// Encode encodes the input.
func (v Report) Encode() []byte {
	limit := v.Limit
	if limit == 0 {
		limit = report.Limit
	}
	if v.Unknown != nil {
		return report.EncodeUnknown(string(*v.Unknown), limit)
	}
	found := report.Report{OK: v.Report.OK}
	for _, one := range v.Report.Errors {
		found.Errors = append(found.Errors, string(one))
	}
	for _, one := range v.Report.Steps {
		found.Steps = append(found.Steps, report.Step(one))
	}
	for _, one := range v.Report.Metrics {
		found.Metrics = append(found.Metrics, report.Metric(one))
	}
	return found.Encode(limit)
}

func (t *text) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		var plain string
		err := json.Unmarshal(data, &plain)
		*t = text(plain)
		return err
	}
	var fields struct {
		Hex    string
		Repeat string
		Times  int
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	raw, err := hex.DecodeString(fields.Hex)
	*t = text(string(raw) + strings.Repeat(fields.Repeat, fields.Times))
	return err
}

func (s *step) UnmarshalJSON(data []byte) error {
	var name text
	if err := json.Unmarshal(data, &[]any{&name, &s.Ms, &s.OK}); err != nil {
		return err
	}
	s.Name = string(name)
	return nil
}

func (m *metric) UnmarshalJSON(data []byte) error {
	var name text
	var value json.RawMessage
	if err := json.Unmarshal(data, &[]any{&name, &value}); err != nil {
		return err
	}
	m.Name, m.Value = string(name), report.Number(value)
	if bytes.ContainsAny(value, ".eE") {
		var float float64
		if err := json.Unmarshal(value, &float); err != nil {
			return fmt.Errorf("measurement %q: %w", m.Name, err)
		}
		m.Value = report.Float(float)
	}
	return nil
}
