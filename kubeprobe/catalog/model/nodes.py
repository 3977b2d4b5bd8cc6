"""The nodes of a binding: its cases run on them one by one, each with its own verdicts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from kubeprobe.catalog.model.base import LabelSelector, Spec
from kubeprobe.catalog.problems import wrong

ALL = "all"


def _sample(value: object) -> object:
    if value == ALL or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise wrong(f"{value!r} is no sample of nodes", expected="how many nodes a slot takes, such as 3, or all")


class NodeChoice(Spec):
    """The nodes of each cluster that a binding's cases run on. `{}`: on every node that is not cordoned."""

    selector: LabelSelector = Field(default=LabelSelector(), description="by the nodes' labels; {} chooses all nodes")
    sample: Annotated[
        Any,
        BeforeValidator(_sample),
        WithJsonSchema(
            {
                "anyOf": [{"type": "integer", "minimum": 1}, {"const": ALL}],
                "description": "how many nodes each slot takes, in turn, so that every node has its; or all",
            }
        ),
    ] = ALL
    cordoned: Literal["skip", "probe"] = Field(
        default="skip", description="what becomes of nodes that are cordoned (unschedulable): left out, or probed too"
    )

    @property
    def size(self) -> int | None:
        """How many nodes a slot takes; None: all."""
        return None if self.sample == ALL else int(self.sample)

    def matches(self, labels: Mapping[str, str], *, cordoned: bool) -> bool:
        """Whether a node with these labels is among those that slots choose from."""
        return (self.cordoned == "probe" or not cordoned) and self.selector.matches(labels)
