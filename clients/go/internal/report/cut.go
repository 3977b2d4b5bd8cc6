package report

import (
	"fmt"
	"sort"
	"unicode/utf8"
)

const (
	ellipsis    = "…"
	leastUseful = 40 // bytes: a shorter piece of an error says nothing
)

// cut makes the report fit; its texts have to be clean.
func (r Report) cut(limit int) []byte {
	room := limit - len(Report{OK: r.OK}.bytes(true))
	share := room / 4
	steps, order, stepSizes := clippedSteps(r.Steps)
	metricSizes := make([]int, len(r.Metrics))
	for place, metric := range r.Metrics {
		metricSizes[place] = stringSize(metric.Name) + len(metric.Value) + len(":,")
	}

	held := sum(take(metricSizes, share)) + sum(take(stepSizes, share))
	errors := takeErrors(r.Errors, room-held)
	for _, text := range errors {
		room -= stringSize(text) + 1
	}
	// What the errors left free goes to the steps first.
	keptSteps := take(stepSizes, room-sum(take(metricSizes, share)))
	keptMetrics := take(metricSizes, room-sum(keptSteps))

	places := append([]int(nil), order[:len(keptSteps)]...)
	sort.Ints(places)
	kept := Report{OK: r.OK, Errors: errors, Metrics: r.Metrics[:len(keptMetrics)]}
	for _, place := range places {
		kept.Steps = append(kept.Steps, steps[place])
	}
	return kept.bytes(true)
}

// clippedSteps are the steps with names of bearable length, their places with the failed ones first, and the bytes
// that each takes, in that order.
func clippedSteps(steps []Step) (clipped []Step, order, sizes []int) {
	for place, step := range steps {
		clipped = append(clipped, Step{clip(step.Name, 128), step.Ms, step.OK})
		order = append(order, place)
	}
	sort.SliceStable(order, func(one, other int) bool {
		return !clipped[order[one]].OK && clipped[order[other]].OK
	})
	for _, place := range order {
		sizes = append(sizes, len(clipped[place].append(nil))+1)
	}
	return clipped, order, sizes
}

// take is the first sizes that fit into the room; one that is too big ends it.
func take(sizes []int, room int) []int {
	for count, size := range sizes {
		if size > room {
			return sizes[:count]
		}
		room -= size
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

// takeErrors is the first errors that fit, long ones shortened; those left out are counted in the last line.
func takeErrors(errors []string, room int) []string {
	most := room / 2 // one endless error does not push out the second
	if len(errors) == 1 {
		most = room
	}
	var kept []string
	for place, text := range errors {
		left := room - 1
		if more := andMore(len(errors) - place - 1); more != "" {
			left -= stringSize(more) + 1
		}
		clipped := clip(text, min(left, most))
		size := stringSize(clipped)
		if size < min(stringSize(text), leastUseful) || size > left { // even an empty one takes its quotes
			return append(kept, andMore(len(errors)-place))
		}
		kept = append(kept, clipped)
		room -= size + 1
	}
	return kept
}

func andMore(count int) string {
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("%s and %d more", ellipsis, count)
}

// clip shortens a text so that, as a JSON string with its quotes, it takes at most room bytes.
func clip(text string, room int) string {
	if stringSize(text) <= room {
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
		if size > room {
			break
		}
		end += width
	}
	if end == 0 {
		return ""
	}
	return text[:end] + ellipsis
}
