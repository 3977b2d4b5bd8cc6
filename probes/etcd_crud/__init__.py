"""Black-box probe: finds out whether etcd stores, and whether each of its members keeps up."""
