"""Sample objects that must be denied, or accepted: sent to the API server with `dryRun: All`, so nothing is created."""

import re
import time
from dataclasses import dataclass
from typing import Any

import yaml

from probes._api import Api, ApiError, PermissionMissing

Json = dict[str, Any]

_FAILED_CALL = re.compile(r'failed calling webhook "(?P<name>[^"]+)": (?P<why>.*?)(?: \(POST .*)?$', re.DOTALL)
_BY_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request')
_BY_POLICY = re.compile(r"ValidatingAdmissionPolicy '(?P<name>[^']+)'")


@dataclass(frozen=True)
class Answer:
    """The API server's answer to a sample."""

    accepted: bool
    ms: float
    message: str = ""
    """Its message if it refused."""

    @property
    def denied_by(self) -> str:
        """The webhook or policy that denied it, from the API server's message; empty if unknown."""
        for pattern, what in ((_BY_WEBHOOK, "webhook"), (_BY_POLICY, "policy")):
            if found := pattern.search(self.message):
                return f"{what} {found['name']}"
        return ""

    @property
    def failed_call(self) -> str:
        """The webhook that the API server could not call, and why; empty if that was not the reason."""
        found = _FAILED_CALL.search(self.message)
        return f"the API server cannot call webhook {found['name']}: {found['why'].strip()}" if found else ""


def parse(text: str) -> list[Json]:
    """The objects of a manifest, YAML or JSON; raises ValueError."""
    try:
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        raise ValueError(f"invalid YAML: {' '.join(str(error).split())[:200]}") from error
    for document in found:
        if not isinstance(document, dict) or not all(
            (document.get("apiVersion"), document.get("kind"), _metadata(document).get("name"))
        ):
            raise ValueError("expected objects with apiVersion, kind and metadata.name")
    return found


def _metadata(document: Json) -> Json:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def name_of(sample: Json) -> str:
    """The name in errors: `Pod privileged`."""
    return f"{sample['kind']} {sample['metadata']['name']}"


def dry_run(api: Api, sample: Json, namespace: str) -> Answer:
    """Create it as a dry run. Raises ApiError if the error is not about admission."""
    path = _collection(api, sample, namespace)
    started = time.perf_counter()
    try:
        api.create(f"{path}?dryRun=All", sample)
    except PermissionMissing:
        raise
    except ApiError as error:
        if error.status in (0, 401, 404, 409):
            raise
        return Answer(accepted=False, ms=(time.perf_counter() - started) * 1000, message=str(error))
    return Answer(accepted=True, ms=(time.perf_counter() - started) * 1000)


def _collection(api: Api, sample: Json, namespace: str) -> str:
    """The collection's path of a sample's kind, from API discovery."""
    version, kind = sample["apiVersion"], sample["kind"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    for resource in api.get(base).get("resources") or []:
        if resource["kind"] == kind and "/" not in resource["name"]:
            target_namespace = sample["metadata"].get("namespace") or namespace
            scope = f"/namespaces/{target_namespace}" if resource["namespaced"] else ""
            return f"{base}{scope}/{resource['name']}"
    raise ApiError(f"the API has no {kind} in {version}", 404)
