"""What KubeProbe costs, in counts and ratios: `python -m benchmarks [NAME ...]`, or `make bench` for all.

`report` is what a benchmark gives, `runner` runs each in a process of its own (inside the test bed's network where it
needs the real API server), `installation` is KubeProbe's real processes over a database of their own, `meters` counts.
One module per benchmark; each says what it counts and how. docs/benchmarks.md explains the tables.
"""
