"""The cost of KubeProbe, in counts and ratios: `python -m benchmarks [NAME ...]`, or `make bench` for all.

`runner` runs each benchmark in a process of its own (inside the test bed's network if it needs the real API server),
`report` formats its tables, `installation` starts KubeProbe's real processes with a database of their own, `meters`
counts. One module per benchmark, whose docstring defines what it counts. docs/benchmarks.md explains the tables.
"""
