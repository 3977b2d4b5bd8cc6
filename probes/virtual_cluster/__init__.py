"""Black-box probe: the lifecycle of a pod in a virtual cluster, and of its counterpart on the host cluster."""
