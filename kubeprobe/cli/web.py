"""The web process: opens an installation, and serves until SIGTERM or SIGINT."""

import uvicorn

from kubeprobe.app import Installation
from kubeprobe.logs import configure_logs
from kubeprobe.metrics import record_process
from kubeprobe.queue import Publisher
from kubeprobe.settings import Settings
from kubeprobe.web import make_app
from kubeprobe.web.connections import BACKLOG, bounded_protocol


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    configure_logs(settings.log_format, process="web")
    with Installation.open(settings, connect=Publisher.connect, process="web") as installation:
        record_process("web")
        uvicorn.run(
            make_app(installation),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            http=bounded_protocol(),
            ws="none",
            backlog=BACKLOG,
        )
