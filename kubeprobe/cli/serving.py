"""The web's process: opens its parts, and serves until it is told to end."""

import uvicorn

from kubeprobe.fleet.credentials import Cipher
from kubeprobe.logs import configure_logs
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.shell import open_ready_store
from kubeprobe.web import WebContext, make_app

MOST_AT_ONCE = 100


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    configure_logs(settings.log_format)
    store = open_ready_store(settings)
    app = make_app(WebContext(store, Queue.connect(settings.broker()), Cipher.from_settings(settings)))
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, limit_concurrency=MOST_AT_ONCE)
    store.close()
