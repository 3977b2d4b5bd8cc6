"""Inspection: every etcd has a restorable backup and, if required, a standby that keeps up."""
