"""Black-box probe: every verb of the API on a ConfigMap, its latency, the watch's events, and optimistic locking."""
