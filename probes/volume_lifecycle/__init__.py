"""Black-box probe: checks that a claim gets a volume, that the volume keeps written data, and that it is deleted."""
