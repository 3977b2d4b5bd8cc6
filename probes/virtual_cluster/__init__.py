"""Black-box: a pod's life in a virtual cluster, and that of its counterpart on the host cluster."""
