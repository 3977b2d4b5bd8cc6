"""Black-box probe: checks whether names are resolved, by the Service and by every DNS pod behind it."""
