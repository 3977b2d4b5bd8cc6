"""Fuzz one reader: `python -m tests.fuzz TARGET SECONDS [SEED]`. If it finds a fault, it fails and prints the input."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import atheris

from tests.fuzz.readers import INSTRUMENTED, not_instrumented

MAX_BYTES = 4096
SECONDS_PER_INPUT = 15
"""Far more than any input of that size takes on a busy machine; an endless loop takes longer."""
MEMORY_MB = 1024


def main(name: str, seconds: str, seed: str = "0") -> None:
    """Fuzz `tests/fuzz/targets/NAME.py`; seed 0 is another one each time."""
    others = not_instrumented(Path(__file__).with_name("targets") / f"{name}.py")
    with atheris.instrument_imports(INSTRUMENTED, others, enable_loader_override=False):
        target = import_module(f"tests.fuzz.targets.{name}")
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, example in enumerate(target.SEEDS):
        target.fuzz(example)  # an error here is easier to read than libFuzzer's
        (corpus / str(number)).write_bytes(example)
    options = {
        "artifact_prefix": f"{folder}/",
        "max_len": MAX_BYTES,
        "max_total_time": seconds,
        "print_final_stats": 1,
        "rss_limit_mb": MEMORY_MB,
        "seed": seed,
        "timeout": SECONDS_PER_INPUT,
        "verbosity": 0,
    }
    atheris.Setup([name, *(f"-{key}={value}" for key, value in options.items()), str(corpus)], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
