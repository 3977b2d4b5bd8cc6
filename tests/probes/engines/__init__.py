"""Small engines of the tests' own: what a virtual cluster's syncer and a federation's propagation do, to be broken."""
