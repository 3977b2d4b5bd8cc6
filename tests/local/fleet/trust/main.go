// Verifies the certificates of servers as clients of Kubernetes do: JSON cases on stdin, the errors on stdout.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
)

type testCase struct {
	Name   string
	Bundle string
	Chain  string
	Host   string
}

func verify(given testCase) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(given.Bundle))
	block, rest := pem.Decode([]byte(given.Chain))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	intermediates.AppendCertsFromPEM(rest)
	// As crypto/tls: the chain first, and then the name.
	if _, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: given.Host}); err != nil {
		return err
	}
	return nil
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	results := map[string]string{}
	for _, given := range cases {
		results[given.Name] = ""
		if err := verify(given); err != nil {
			results[given.Name] = err.Error()
		}
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
