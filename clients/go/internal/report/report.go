// Package report encodes the report: JSON, no longer than Kubernetes keeps, and marked if it was truncated.
//
// The Python client encodes the same bytes, verified by clients/vectors. Package kubeprobe writes them to the report
// file.
package report

// Limit is the kubelet's limit of a termination message, in bytes.
const Limit = 4096

// Number is a formatted JSON number.
type Number string

// Step is a timed part of a probe; Ms is its duration in milliseconds.
type Step struct {
	Name string
	Ms   float64
	OK   bool
}

// Metric is a measurement: a name and a finite number.
type Metric struct {
	Name  string
	Value Number
}

// Report is the result of a probe: ok or not, errors, steps and measurements.
type Report struct {
	OK      bool
	Errors  []string
	Steps   []Step
	Metrics []Metric
}

// Encode returns UTF-8 JSON of at most limit bytes (512 or more).
//
// A report that is too long keeps OK and its first errors, and has "truncated": true. Errors have priority, but up to a
// quarter of the space each is reserved for measurements (charts need them most when the probe fails) and for steps
// (failed ones first).
func (r Report) Encode(limit int) []byte {
	cleaned := r.clean()
	whole := cleaned.bytes(false)
	if len(whole) <= limit {
		return whole
	}
	return cleaned.cut(limit)
}

// EncodeUnknown returns the message of a probe without a verdict, {"unknown": reason}, truncated like a report.
func EncodeUnknown(reason string, limit int) []byte {
	reason = clean(reason)
	whole := unknown(reason, false)
	if len(whole) <= limit {
		return whole
	}
	space := limit - len(unknown("", true)) + len(`""`)
	return unknown(clip(reason, space), true)
}

func unknown(reason string, truncated bool) []byte {
	out := appendString([]byte(`{"unknown":`), reason)
	if truncated {
		out = append(out, `,"truncated":true`...)
	}
	return append(out, '}')
}

// clean converts all texts to UTF-8. If two measurements get the same name by that, the later value counts.
func (r Report) clean() Report {
	cleaned := Report{OK: r.OK}
	for _, text := range r.Errors {
		cleaned.Errors = append(cleaned.Errors, clean(text))
	}
	for _, step := range r.Steps {
		cleaned.Steps = append(cleaned.Steps, Step{clean(step.Name), step.Ms, step.OK})
	}
	indices := map[string]int{}
	for _, metric := range r.Metrics {
		name := clean(metric.Name)
		if index, known := indices[name]; known {
			cleaned.Metrics[index].Value = metric.Value
			continue
		}
		indices[name] = len(cleaned.Metrics)
		cleaned.Metrics = append(cleaned.Metrics, Metric{name, metric.Value})
	}
	return cleaned
}

// bytes returns the report in full, of any length.
func (r Report) bytes(truncated bool) []byte {
	out := []byte(`{"ok":`)
	out = appendBool(out, r.OK)
	if truncated {
		out = append(out, `,"truncated":true`...)
	}
	out = append(out, `,"errors":[`...)
	for index, text := range r.Errors {
		out = appendString(separated(out, index), text)
	}
	out = append(out, `],"steps":[`...)
	for index, step := range r.Steps {
		out = step.append(separated(out, index))
	}
	out = append(out, `],"metrics":{`...)
	for index, metric := range r.Metrics {
		out = appendString(separated(out, index), metric.Name)
		out = append(append(out, ':'), metric.Value...)
	}
	return append(out, "}}"...)
}

func (s Step) append(out []byte) []byte {
	out = appendString(append(out, `{"name":`...), s.Name)
	out = append(append(out, `,"ms":`...), tenths(s.Ms)...)
	return append(appendBool(append(out, `,"ok":`...), s.OK), '}')
}

func appendBool(out []byte, value bool) []byte {
	if value {
		return append(out, "true"...)
	}
	return append(out, "false"...)
}

func separated(out []byte, index int) []byte {
	if index > 0 {
		return append(out, ',')
	}
	return out
}
