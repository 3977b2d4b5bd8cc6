"""Black-box probe: a namespace is created, gets its default objects, and is deleted completely."""
