package report

import (
	"fmt"
	"sort"
	"unicode/utf8"
)

const (
	ellipsis    = "…"
	leastUseful = 40 // bytes: a shorter part of an error is of no use
)

// cut truncates the report to the limit; its texts must be clean.
func (r Report) cut(limit int) []byte {
	space := limit - len(Report{OK: r.OK}.bytes(true))
	share := space / 4
	steps, order, stepSizes := clippedSteps(r.Steps)
	metricSizes := make([]int, len(r.Metrics))
	for index, metric := range r.Metrics {
		metricSizes[index] = stringSize(metric.Name) + len(metric.Value) + len(":,")
	}

	reserved := sum(take(metricSizes, share)) + sum(take(stepSizes, share))
	errors := takeErrors(r.Errors, space-reserved)
	for _, text := range errors {
		space -= stringSize(text) + 1
	}
	// Space that the errors did not use goes to the steps first.
	keptSteps := take(stepSizes, space-sum(take(metricSizes, share)))
	keptMetrics := take(metricSizes, space-sum(keptSteps))

	indices := append([]int(nil), order[:len(keptSteps)]...)
	sort.Ints(indices)
	kept := Report{OK: r.OK, Errors: errors, Metrics: r.Metrics[:len(keptMetrics)]}
	for _, index := range indices {
		kept.Steps = append(kept.Steps, steps[index])
	}
	return kept.bytes(true)
}

// clippedSteps returns the steps with shortened names, their indices with the failed ones first, and the size of each
// in bytes, in that order.
func clippedSteps(steps []Step) (clipped []Step, order, sizes []int) {
	for index, step := range steps {
		clipped = append(clipped, Step{clip(step.Name, 128), step.Ms, step.OK})
		order = append(order, index)
	}
	sort.SliceStable(order, func(one, other int) bool {
		return !clipped[order[one]].OK && clipped[order[other]].OK
	})
	for _, index := range order {
		sizes = append(sizes, len(clipped[index].append(nil))+1)
	}
	return clipped, order, sizes
}

// take returns the first sizes that fit into the space, up to the first one that does not.
func take(sizes []int, space int) []int {
	for count, size := range sizes {
		if size > space {
			return sizes[:count]
		}
		space -= size
	}
	return sizes
}

func sum(sizes []int) int {
	total := 0
	for _, size := range sizes {
		total += size
	}
	return total
}

// takeErrors returns the first errors that fit, long ones shortened; the last one counts those left out.
func takeErrors(errors []string, space int) []string {
	most := space / 2 // a very long error leaves space for the second
	if len(errors) == 1 {
		most = space
	}
	var kept []string
	for index, text := range errors {
		left := space - 1
		if more := andMore(len(errors) - index - 1); more != "" {
			left -= stringSize(more) + 1
		}
		clipped := clip(text, min(left, most))
		size := stringSize(clipped)
		if size < min(stringSize(text), leastUseful) || size > left { // even an empty one needs its quotes
			return append(kept, andMore(len(errors)-index))
		}
		kept = append(kept, clipped)
		space -= size + 1
	}
	return kept
}

func andMore(count int) string {
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("%s and %d more", ellipsis, count)
}

// clip shortens a text so that it takes at most space bytes as a JSON string with its quotes.
func clip(text string, space int) string {
	if stringSize(text) <= space {
		return text
	}
	size, end := len(`""`)+len(ellipsis), 0
	for end < len(text) {
		_, width := utf8.DecodeRuneInString(text[end:])
		if width == 1 {
			size += escapedSize(text[end])
		} else {
			size += width
		}
		if size > space {
			break
		}
		end += width
	}
	if end == 0 {
		return ""
	}
	return text[:end] + ellipsis
}
