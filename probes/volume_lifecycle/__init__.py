"""Black-box probe: checks that a user gets storage, that it keeps written data, and that it is released."""
