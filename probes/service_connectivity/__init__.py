"""Black-box probe: checks whether connections reach the pods of a Service, and no others."""
