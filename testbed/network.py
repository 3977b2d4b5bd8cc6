"""The network namespace that the whole cluster lives in. Next: `pki`.

It has no default route and no link to the machine, so nothing the cluster sends can leave, and an address that
does not exist inside fails at once instead of being routed away.
"""

import os

from testbed.commands import run, succeeds
from testbed.instance import NODE_ADDRESS, SERVICE_CIDR, Instance

BRIDGE = "node0"


def create(instance: Instance) -> None:
    """Make the namespace with its loopback, the node's address and a route to Services; idempotent."""
    if exists(instance) and _complete(instance):
        return
    remove(instance)  # half made, by an `up` that was interrupted
    run(["ip", "netns", "add", instance.netns_name])
    run(instance.in_namespace(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))
    run(
        ["ip", "-netns", instance.netns_name, "-batch", "-"],
        stdin=f"""\
link set lo up
link add {BRIDGE} type bridge
address add {NODE_ADDRESS}/24 dev {BRIDGE}
link set {BRIDGE} up
route add {SERVICE_CIDR} dev {BRIDGE} src {NODE_ADDRESS}
""",
    )


def exists(instance: Instance) -> bool:
    """Whether the namespace is there (its file alone is not enough: after a reboot it is an empty file)."""
    return os.path.ismount(instance.netns)


def remove(instance: Instance) -> None:
    """Remove the namespace; what is left in it keeps it alive but unnamed."""
    if exists(instance):
        run(["ip", "netns", "delete", instance.netns_name])
    instance.netns.unlink(missing_ok=True)


def _complete(instance: Instance) -> bool:
    # The route is what `create` adds last.
    return succeeds(["ip", "-netns", instance.netns_name, "route", "get", NODE_ADDRESS]) and SERVICE_CIDR in run(
        ["ip", "-netns", instance.netns_name, "route"]
    )
