"""The web: KubeProbe over HTTP. So far: webhooks of sources, health and metrics.

`app` puts the routes together, `webhooks` receives pushes, `signatures` verifies who sent them, `metrics` reads
the installation's numbers for Prometheus. Routes call use cases of `kubeprobe.app`.
"""

from kubeprobe.web.app import make_app

__all__ = ["make_app"]
