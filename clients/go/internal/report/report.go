// Package report makes the report's bytes: JSON, never longer than Kubernetes keeps, and honest about what was cut.
//
// The Python client does the same to the byte; clients/vectors holds both to it. Next stage: package kubeprobe writes
// the bytes to the report file.
package report

// Limit is how many bytes of a termination message the kubelet keeps.
const Limit = 4096

// Number is a JSON number, written out.
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

// Report is what a probe found: a verdict, why, and the steps and measurements behind it.
type Report struct {
	OK      bool
	Errors  []string
	Steps   []Step
	Metrics []Metric
}

// Encode makes UTF-8 JSON of at most limit bytes (512 or more).
//
// A report that is too long keeps its verdict and its first errors, and says "truncated": true. Errors come first,
// but up to a quarter of the room each is held for measurements (a chart needs them most when the probe fails) and
// for steps (the failed ones first: they say where).
func (r Report) Encode(limit int) []byte {
	cleaned := r.clean()
	whole := cleaned.bytes(false)
	if len(whole) <= limit {
		return whole
	}
	return cleaned.cut(limit)
}

// EncodeUnknown makes the message of a probe that could not find out, {"unknown": reason}, cut like a report.
func EncodeUnknown(reason string, limit int) []byte {
	reason = clean(reason)
	whole := unknown(reason, false)
	if len(whole) <= limit {
		return whole
	}
	room := limit - len(unknown("", true)) + len(`""`)
	return unknown(clip(reason, room), true)
}

func unknown(reason string, truncated bool) []byte {
	out := appendString([]byte(`{"unknown":`), reason)
	if truncated {
		out = append(out, `,"truncated":true`...)
	}
	return append(out, '}')
}

// clean makes all texts UTF-8. Where that makes two measurements' names the same, the later value counts.
func (r Report) clean() Report {
	cleaned := Report{OK: r.OK}
	for _, text := range r.Errors {
		cleaned.Errors = append(cleaned.Errors, clean(text))
	}
	for _, step := range r.Steps {
		cleaned.Steps = append(cleaned.Steps, Step{clean(step.Name), step.Ms, step.OK})
	}
	places := map[string]int{}
	for _, metric := range r.Metrics {
		name := clean(metric.Name)
		if place, known := places[name]; known {
			cleaned.Metrics[place].Value = metric.Value
			continue
		}
		places[name] = len(cleaned.Metrics)
		cleaned.Metrics = append(cleaned.Metrics, Metric{name, metric.Value})
	}
	return cleaned
}

// bytes is the report as it is, however long.
func (r Report) bytes(truncated bool) []byte {
	out := []byte(`{"ok":`)
	out = appendBool(out, r.OK)
	if truncated {
		out = append(out, `,"truncated":true`...)
	}
	out = append(out, `,"errors":[`...)
	for place, text := range r.Errors {
		out = appendString(separated(out, place), text)
	}
	out = append(out, `],"steps":[`...)
	for place, step := range r.Steps {
		out = step.append(separated(out, place))
	}
	out = append(out, `],"metrics":{`...)
	for place, metric := range r.Metrics {
		out = appendString(separated(out, place), metric.Name)
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

func separated(out []byte, place int) []byte {
	if place > 0 {
		return append(out, ',')
	}
	return out
}
