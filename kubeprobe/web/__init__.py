"""The web: what other systems ask of KubeProbe over HTTP. So far: pushes to sources, and whether it lives.

`app` puts the routes together, `webhooks` takes pushes, `signatures` tells who sent them. It writes nothing but "look
at this source soon" into the store and wakes a worker; all else is done there.
"""

from kubeprobe.web.app import make_app
from kubeprobe.web.context import WebContext

__all__ = ["WebContext", "make_app"]
