"""Black-box probe: finds out whether connections reach the pods behind a Service, and nobody else."""
