"""Inspection: every etcd has a backup that could be restored, and a standby that keeps up where there should be one."""
