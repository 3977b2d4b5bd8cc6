"""Engines to be broken: Open Cluster Management's for federations, a syncer of the tests' own for virtual clusters."""
