"""The embedded cluster: a small Kubernetes API whose pods are processes of this machine.

It serves the part of the real API that probes and KubeProbe use, for trying KubeProbe without a Kubernetes and
for tests; the contract tests run against it and against a real cluster. It can also serve a fleet of
simulated clusters whose pods are scripted.

A request passes `http` -> `requests` (path, query, body) -> `registry` (the rules; `admission`, `validation`,
`defaults`) -> `store` (versions, history) -> watchers (`watch`), `controllers`, and the pod runner:
`kubelet` or `simulate`. Everything is in memory and lost at exit. Imports nothing of the rest of KubeProbe.
"""

from kubeprobe.localcluster.images import Image
from kubeprobe.localcluster.kubelet.host import Backoff
from kubeprobe.localcluster.server import LocalCluster, LocalClusterSettings
from kubeprobe.localcluster.simulate import Script

__all__ = ["Backoff", "Image", "LocalCluster", "LocalClusterSettings", "Script"]
