"""Black-box probe: a Deployment behind a Service is rolled out, updated under traffic, rolled back and removed."""
