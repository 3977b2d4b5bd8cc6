"""`make test`: every tier of tests that this machine can run, in parallel, and a summary of what they came to.

`__main__` says what runs when; `pytests` runs one pytest on several workers and reads its results; `flaky` decides
which failures are run once more; `summary` writes what `make test` leaves behind.
"""
