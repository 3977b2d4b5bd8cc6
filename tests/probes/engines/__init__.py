"""Engines to be broken: Open Cluster Management's, for federations. vcluster is in `tests.probes.vcluster`."""
