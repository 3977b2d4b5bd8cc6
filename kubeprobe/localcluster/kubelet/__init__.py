"""Pods as processes: the role of scheduler, kubelet and container runtime on a real node.

`kubelet` follows the cluster's pods and starts a `pod` worker for each; that runs its `container`s, each a
`process` in its own directory with the `environment` and `volumes` it declares; `statuses` derives the pod's status.
"""
