"""What a kind of target declares; the registry is in this package's `__init__`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kubeprobe.catalog.model.base import Spec
from kubeprobe.response.message import Message
from kubeprobe.response.targets.delivery import Delivery

SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class TargetKind(Generic[SpecT]):
    """One kind of target. `send` raises TemporaryTargetError or PermanentTargetError and nothing else."""

    spec: type[SpecT]
    """The model of such a target in the catalog."""
    send: Callable[[SpecT, Message, Delivery], None]
    needs_repeats: bool = False
    """The receiver forgets: while the alert is open, its opening is sent again and again."""
