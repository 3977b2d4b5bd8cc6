"""`make test`: every tier of tests that this machine can run, in parallel, and a summary of the results.

`__main__` starts everything in order; `pytests` runs one pytest on several workers and reads its results; `flaky`
decides which failures are run again; `summary` writes the summary file.
"""
