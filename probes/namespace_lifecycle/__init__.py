"""Black-box probe: a namespace is created, furnished by the controllers, deleted, and really goes away."""
