"""What is wrong with this installation, and what to do about it.

`facts` are read from the store, `judgements` decide what they mean (pure functions), `doctor` checks everything that a
person should know, also where the store or the broker cannot be reached.
"""

from kubeprobe.health.doctor import diagnose

__all__ = ["diagnose"]
