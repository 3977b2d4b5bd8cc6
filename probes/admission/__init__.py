"""Black-box probe: checks whether admission webhooks answer in time and deny what they must deny."""
