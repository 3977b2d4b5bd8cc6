// Program crosscheck encodes reports for the test that compares the clients on reports made at random: a vector's
// input a line on standard input, the bytes in hexadecimal a line on standard output.
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
