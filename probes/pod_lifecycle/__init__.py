"""Black-box probe: checks whether a user can run a pod."""
