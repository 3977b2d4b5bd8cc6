package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string with its quotes. Only characters that JSON forbids are escaped, in the form of
// Python's json module; the text must be clean.
func appendString(out []byte, text string) []byte {
	out = append(out, '"')
	for _, char := range []byte(text) {
		out = appendEscaped(out, char)
	}
	return append(out, '"')
}

func appendEscaped(out []byte, char byte) []byte {
	switch char {
	case '"', '\\':
		return append(out, '\\', char)
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\t':
		return append(out, '\\', 't')
	case '\b':
		return append(out, '\\', 'b')
	case '\f':
		return append(out, '\\', 'f')
	}
	if char < ' ' {
		return append(out, '\\', 'u', '0', '0', hexDigits[char>>4], hexDigits[char&15])
	}
	return append(out, char)
}

// stringSize is the size of a text as a JSON string with its quotes, in bytes.
func stringSize(text string) int {
	size := 2
	for _, char := range []byte(text) {
		size += escapedSize(char)
	}
	return size
}

func escapedSize(char byte) int {
	switch char {
	case '"', '\\', '\n', '\r', '\t', '\b', '\f':
		return 2
	}
	if char < ' ' {
		return 6
	}
	return 1
}

// clean replaces each byte that is not UTF-8 by `\\udcXX`, as the Python client does, where such a byte is a lone
// surrogate (PEP 383).
func clean(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		char, size := utf8.DecodeRuneInString(text)
		if char == utf8.RuneError && size == 1 {
			fmt.Fprintf(&out, `\udc%02x`, text[0])
		} else {
			out.WriteString(text[:size])
		}
		text = text[size:]
	}
	return out.String()
}

// Float formats a finite number as Python's repr does: the shortest digits that parse to the same number, with a point
// or an exponent, so that it is recognizable as a float.
func Float(value float64) Number {
	text := strconv.FormatFloat(value, 'e', -1, 64)
	exponent, _ := strconv.Atoi(text[strings.IndexByte(text, 'e')+1:])
	if value != 0 && (exponent < -4 || exponent >= 16) {
		return Number(text)
	}
	text = strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return Number(text)
}

// tenths rounds to one digit after the point, halves to even.
func tenths(value float64) Number {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'f', 1, 64), 64)
	return Float(rounded)
}
