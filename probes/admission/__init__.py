"""Black-box probe: finds out whether admission webhooks answer, in time, and deny what must be denied."""
