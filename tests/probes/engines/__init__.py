"""Engines for fault injection: Open Cluster Management, for federations. vcluster is in `tests.probes.vcluster`."""
