"""Black-box probe: finds out whether an image can be pulled, how long it takes, and who is to blame if it cannot."""
