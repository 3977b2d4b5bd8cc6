"""Black-box probe: finds out whether a user can run a pod."""
