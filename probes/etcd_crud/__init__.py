"""Black-box probe: checks that etcd stores writes and that each of its members keeps up."""
