"""The FastAPI application."""

import asyncio

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client.exposition import choose_encoder

from kubeprobe import __version__
from kubeprobe.app import Installation
from kubeprobe.web import webhooks
from kubeprobe.web.metrics import registry_of


def make_app(installation: Installation) -> FastAPI:
    """The application over an open installation. Its OpenAPI document is at /api/v1/openapi.json."""
    app = FastAPI(
        title="KubeProbe", version=__version__, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.installation = installation
    app.state.webhook_bodies = asyncio.Semaphore(webhooks.MAX_BODIES)
    app.include_router(webhooks.router)

    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """Whether this process can query the database; 503 if not."""
        if not installation.is_database_up():
            raise HTTPException(503, "Database unavailable.")
        return {"status": "ok"}

    registry = registry_of(installation)

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        """The web's metrics and the installation's, for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return app
