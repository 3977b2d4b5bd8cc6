"""Who may do what: every use case names one permission, and the caller of an installation has some of them."""

from dataclasses import dataclass, field
from enum import StrEnum

from kubeprobe.errors import KubeProbeError


class Permission(StrEnum):
    """What a use case needs. They don't include one another."""

    READ = "read"
    """Read anything but secrets."""
    RUN = "run"
    """Request runs and record changes."""
    OPERATE = "operate"
    """Pause, cordon, check clusters, try probes: what is undone by its opposite and changes no configuration."""
    CATALOG = "catalog"
    """Change the catalog and its sources."""
    CLUSTERS = "clusters"
    """Add, relabel and remove clusters, and create KubeProbe's objects in them."""


class NotPermittedError(KubeProbeError):
    """The caller lacks a permission; nothing was changed."""


@dataclass(frozen=True)
class Caller:
    """A person or program that calls use cases."""

    name: str
    permissions: frozenset[Permission] = field(default_factory=lambda: frozenset(Permission))

    def require(self, permission: Permission, action: str) -> None:
        """Raise NotPermittedError unless the caller has the permission."""
        if permission not in self.permissions:
            raise NotPermittedError(f"{self.name} may not {action}: this needs the permission {permission.value!r}")


OPERATOR = Caller("the local operator")
"""Anyone who can open the store and its secret key, as the command line does: all permissions."""
