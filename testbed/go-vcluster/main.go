// vcluster as its image has it, without the migration from SQLite: that alone would be a minute of building.
package main

import "github.com/loft-sh/vcluster/cmd/vcluster/cmd"

func main() {
	cmd.RunRoot()
}
