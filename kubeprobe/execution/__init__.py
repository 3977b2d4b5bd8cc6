"""Execution: a run's pod is launched, watched and judged, and its outcome recorded.

Before it: `trigger` opened the run. `launch` creates its pod, `collect` observes its end, `judge` decides the verdict,
`runs.close` commits the outcome, and only then is the pod deleted.
Next stage: `response`, which meets execution only in the store.
"""
