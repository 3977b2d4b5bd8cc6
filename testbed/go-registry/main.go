// A container registry for the tests: the storage in files, passwords in a file, and no more.
package main

import (
	"log"
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		log.Println(err)
		os.Exit(1)
	}
}
