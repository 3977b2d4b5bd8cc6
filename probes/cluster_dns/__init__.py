"""Black-box probe: finds out whether names are resolved, by the Service and by every DNS pod behind it."""
