"""Black-box probe: checks whether an image can be pulled, how long that takes, and the cause if it fails."""
