"""The embedded cluster: a small Kubernetes API whose pods are processes of this machine.

It speaks the real API as far as probes and KubeProbe use it, for trying KubeProbe without a Kubernetes and
for tests; the contract tests run against it and against a real cluster. It can also play a fleet of
simulated clusters whose pods are scripted.

The way of a request: `http` (reads it) -> `requests` (what it asks) -> `registry` (the rules; `admission`,
`validation`, `defaults`) -> `store` (versions, history) -> watchers (`watch`), `controllers`, and whoever
plays the pods: `kubelet` or `simulate`. Nothing is kept when it stops. Imports nothing of the rest of KubeProbe.
"""

from kubeprobe.localcluster.images import Image
from kubeprobe.localcluster.kubelet.host import Backoff
from kubeprobe.localcluster.server import LocalCluster, Settings
from kubeprobe.localcluster.simulate import Script

__all__ = ["Backoff", "Image", "LocalCluster", "Script", "Settings"]
