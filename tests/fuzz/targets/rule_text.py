"""Conditions and messages of rules, in the catalog and in the rules probe."""

from pydantic import ValidationError

from kubeprobe.catalog.cel import inline
from kubeprobe.catalog.model.rule import Rule
from probes.rules.expressions import Text

SEEDS = (
    b"object.spec.replicas > 1",
    b"{{ object.metadata.name }} has {{ object.spec.replicas }} replicas",
    b"{{ {'a': [1, 2]}.a.all(x, x > 0) }} {{{{ }} }}",
    b"object.metadata.labels.exists(key, key.startsWith('app'))",
)


def fuzz(data: bytes) -> None:
    """The catalog refuses or accepts it; the probe finds the same expressions in what was accepted."""
    text = data.decode(errors="replace")
    for fields in ({"message": text}, {"expect": text}):
        try:
            rule = Rule.model_validate({"resource": "v1/pods", "expect": "true", "message": "x", **fields})
        except ValidationError:
            continue
        assert len(Text(rule.message)._pieces) == 2 * len(list(inline(rule.message))) + 1
