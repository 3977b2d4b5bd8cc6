"""JSON Schema (draft 2020-12) of a catalog document, for editors. `parse` checks more than a schema can express."""

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from kubeprobe.catalog.model import DOCUMENTS
from kubeprobe.vocabulary import API_VERSION

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one document of any kind, discriminated by `kind`."""
    any_kind: Any = Annotated[reduce(or_, DOCUMENTS.values()), Field(discriminator="kind")]
    schema = TypeAdapter(any_kind).json_schema(by_alias=True, mode="validation")
    return {"$schema": DRAFT, "title": f"KubeProbe catalog ({API_VERSION})", **schema}
