package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string with its quotes. Only what JSON forbids is escaped, in the form that
// Python's json module uses; the text has to be clean.
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

// stringSize is how many bytes a text takes as a JSON string with its quotes.
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

// clean replaces each byte that is not UTF-8 by `\udcXX`: what the Python client makes of such a byte, which it
// holds as a lone surrogate (PEP 383).
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

// Float writes a finite number as Python's repr does: the shortest digits that read back as the same number, with a
// point or an exponent, so that it is seen to be no whole number.
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

// tenths rounds to one digit after the point, to the even one where both are as near.
func tenths(value float64) Number {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'f', 1, 64), 64)
	return Float(rounded)
}
