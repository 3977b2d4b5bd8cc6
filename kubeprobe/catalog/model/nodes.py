"""The nodes of a binding: its cases run on each of them, with verdicts of its own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from kubeprobe.catalog.model.base import LabelSelector, Spec
from kubeprobe.catalog.problems import invalid

ALL = "all"


def _sample(value: object) -> object:
    if value == ALL or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise invalid(f"{value!r} is not a sample size", expected="the number of nodes of each slot, such as 3, or all")


class NodeChoice(Spec):
    """The nodes of each cluster that a binding's cases run on. `{}`: all nodes that are not cordoned."""

    selector: LabelSelector = Field(default=LabelSelector(), description="by the nodes' labels; {} selects all nodes")
    sample: Annotated[
        Any,
        BeforeValidator(_sample),
        WithJsonSchema(
            {
                "anyOf": [{"type": "integer", "minimum": 1}, {"const": ALL}],
                "description": "number of nodes of each slot, rotating through all nodes; or all",
            }
        ),
    ] = ALL
    cordoned: Literal["skip", "probe"] = Field(
        default="skip", description="whether cordoned (unschedulable) nodes are skipped, or probed too"
    )

    @property
    def size(self) -> int | None:
        """The number of nodes of each slot; None: all."""
        return None if self.sample == ALL else int(self.sample)

    def matches(self, labels: Mapping[str, str], *, cordoned: bool) -> bool:
        """Whether a node with these labels is one of those that the sample is taken from."""
        return (self.cordoned == "probe" or not cordoned) and self.selector.matches(labels)
