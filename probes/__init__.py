"""The built-in probes: one folder each, run as `python -m probes.<folder>.probe` in the probes image.

They check the cluster they run in and report through `kubeprobe_client`; they import nothing of KubeProbe.

"""
