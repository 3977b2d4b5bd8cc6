"""Coverage-guided fuzzing (atheris) of everything that reads foreign input.

Each module in `targets` has `SEEDS`, valid examples to begin with, and `fuzz(data)`, which calls one reader and catches
only the errors that the reader documents. Any other error, a hang, or memory without bound is a fault of the reader.
"""
