"""The network namespace of the whole cluster.

It has no default route and no link to the machine: no traffic leaves it, and connections to addresses that do not
exist inside fail at once.
"""

import os

from testbed.commands import run, succeeds
from testbed.instance import NODE_ADDRESS, SERVICE_CIDR, Instance

BRIDGE = "node0"


def create(instance: Instance) -> None:
    """Create the namespace with its loopback, the node's address and a route to Services; idempotent."""
    if exists(instance) and _complete(instance):
        return
    remove(instance)  # incomplete, from an interrupted `up`
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
    """Whether the namespace exists. Its file alone is no proof: after a reboot, an empty file remains."""
    return os.path.ismount(instance.netns)


def remove(instance: Instance) -> None:
    """Remove the namespace's name; the kernel frees the namespace when its last process ends."""
    if exists(instance):
        run(["ip", "netns", "delete", instance.netns_name])
    instance.netns.unlink(missing_ok=True)


def _complete(instance: Instance) -> bool:
    # `create` adds the route last.
    return succeeds(["ip", "-netns", instance.netns_name, "route", "get", NODE_ADDRESS]) and SERVICE_CIDR in run(
        ["ip", "-netns", instance.netns_name, "route"]
    )
