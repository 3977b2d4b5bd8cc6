// Program crosscheck encodes reports for the test that compares the clients on random reports: it reads one test
// vector per line from standard input, and writes the bytes in hexadecimal, one line each, to standard output.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"kubeprobe.io/client/internal/vector"
)

func main() {
	lines := json.NewDecoder(os.Stdin)
	for {
		var one vector.Report
		if err := lines.Decode(&one); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%x\n", one.Encode())
	}
}
