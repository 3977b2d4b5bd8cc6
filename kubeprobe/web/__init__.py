"""The web: KubeProbe over HTTP. So far: webhooks of sources, and health.

`app` puts the routes together, `webhooks` receives pushes, `signatures` verifies who sent them. Routes call use cases
of `kubeprobe.app`.
"""

from kubeprobe.web.app import make_app

__all__ = ["make_app"]
