"""What makes a function a use case: one permission, and for those that write one transaction with its effects.

A use case takes the `Installation` first. `transaction` opens the transaction for it, commits it, and then sends the
effects that it collected. `use_case` is for what takes long outside of the transaction that it opens itself: clusters,
Git, parsing, compiling.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.catalog import Catalog
from kubeprobe.effects import Effects

P = ParamSpec("P")
T = TypeVar("T")

PERMISSIONS: dict[str, Permission] = {}
"""The permission of each use case, by `module.function` within `kubeprobe.app`."""


@dataclass
class Transaction:
    """One read-write transaction of a use case."""

    session: Session
    installation: Installation
    now: datetime
    effects: Effects = field(default_factory=Effects)
    """What is sent after the commit; add to it."""

    @property
    def catalog(self) -> Catalog:
        """The catalog as this transaction sees it."""
        return self.installation.catalogs.current(self.session)


def transaction(
    permission: Permission,
) -> Callable[[Callable[Concatenate[Transaction, P], T]], Callable[Concatenate[Installation, P], T]]:
    """A use case that is one transaction: all of it, or nothing where it raises."""

    def decorate(function: Callable[Concatenate[Transaction, P], T]) -> Callable[Concatenate[Installation, P], T]:
        action = _register(function, permission)

        @wraps(function)
        def run(installation: Installation, /, *args: P.args, **kwargs: P.kwargs) -> T:
            installation.caller.require(permission, action)
            with installation.store.writing() as session:
                opened = Transaction(session, installation, installation.clock())
                result = function(opened, *args, **kwargs)
            installation.dispatch(opened.effects)
            return result

        return run

    return decorate


def use_case(
    permission: Permission,
) -> Callable[[Callable[Concatenate[Installation, P], T]], Callable[Concatenate[Installation, P], T]]:
    """A use case that contacts clusters or Git between its transactions."""

    def decorate(function: Callable[Concatenate[Installation, P], T]) -> Callable[Concatenate[Installation, P], T]:
        action = _register(function, permission)

        @wraps(function)
        def run(installation: Installation, /, *args: P.args, **kwargs: P.kwargs) -> T:
            installation.caller.require(permission, action)
            return function(installation, *args, **kwargs)

        return run

    return decorate


def _register(function: Callable[..., object], permission: Permission) -> str:
    """Record the permission; gives the action in words."""
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    PERMISSIONS[name] = permission
    return function.__name__.replace("_", " ")
