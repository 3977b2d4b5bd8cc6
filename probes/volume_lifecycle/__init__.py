"""Black-box probe: finds out whether a user gets storage, keeps what is written to it, and is rid of it afterwards."""
