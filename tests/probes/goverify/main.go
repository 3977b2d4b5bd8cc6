// Command goverify verifies server certificates as Go does: a JSON list of cases on stdin, a JSON list of errors on stdout.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
)

type testCase struct {
	Bundle string `json:"bundle"`
	Chain  string `json:"chain"`
	Host   string `json:"host"`
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	results := make([]string, 0, len(cases))
	for _, c := range cases {
		results = append(results, verify(c))
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

// verify returns the error, or an empty string. As client-go: a pool that stays empty is an error, too.
func verify(c testCase) string {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(c.Bundle)) {
		return "no certificate in the bundle"
	}
	var leaf *x509.Certificate
	intermediates := x509.NewCertPool()
	for rest := []byte(c.Chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err.Error()
		}
		if leaf == nil {
			leaf = certificate
		} else {
			intermediates.AddCert(certificate)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: c.Host})
	if err != nil {
		return err.Error()
	}
	return ""
}
