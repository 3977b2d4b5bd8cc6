"""The types of a kubeconfig: what kubectl refuses to decode is refused, with its place and without its value.

Fields: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ (client-go tools/clientcmd/api/v1/types.go).
As in kubectl, null is the same as a missing field, and unknown fields are ignored.
"""

import base64
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from kubeprobe.errors import InvalidInputError

_SHOWN = 5
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
    (type(None), "null"),
)
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _text_of_null(value: Any) -> Any:
    return "" if value is None else value


def _refuse_nul(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("nul", "contains a NUL character; expected text")
    return value


def _decode(value: Any) -> bytes:
    """As Go decodes bytes in JSON: standard base64 with padding; line ends are ignored, spaces are not."""
    with suppress(ValueError, AttributeError):  # AttributeError: it is not text
        return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
    raise PydanticCustomError("base64", "is not base64; expected it without spaces, with padding")


def _refuse_duplicates(found: list[Any]) -> list[Any]:
    names = set()
    for each in found:
        if each.name in names:
            message = "has two entries named {name}; expected each name once"
            raise PydanticCustomError("duplicate", message, {"name": repr(each.name)})
        names.add(each.name)
    return found


Text = Annotated[str, BeforeValidator(_text_of_null), AfterValidator(_refuse_nul)]
Data = Annotated[
    bytes, BeforeValidator(_decode), PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json")
]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if value is None:
            return {}
        return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


class Extension(_Model):
    """Data of another program, by name."""

    name: Text = ""
    extension: Any = None


Extensions = Annotated[list[Extension], AfterValidator(_refuse_duplicates)]


class ClusterFields(_Model):
    """How a server is reached and trusted."""

    server: Text = ""
    tls_server_name: Text = Field("", alias="tls-server-name")
    insecure_skip_tls_verify: bool = Field(default=False, alias="insecure-skip-tls-verify")
    certificate_authority: Text = Field("", alias="certificate-authority")
    certificate_authority_data: Data = Field(b"", alias="certificate-authority-data")
    proxy_url: Text = Field("", alias="proxy-url")
    disable_compression: bool = Field(default=False, alias="disable-compression")
    extensions: Extensions = []


class EnvironmentVariable(_Model):
    """A variable of an exec plugin."""

    name: Text = ""
    value: Text = ""


class ExecFields(_Model):
    """A program that returns credentials."""

    command: Text = ""
    args: list[Text] = []
    env: list[EnvironmentVariable] = []
    api_version: Text = Field("", alias="apiVersion")
    install_hint: Text = Field("", alias="installHint")
    provide_cluster_info: bool = Field(default=False, alias="provideClusterInfo")
    interactive_mode: Text = Field("", alias="interactiveMode")


class AuthProviderFields(_Model):
    """The predecessor of exec plugins."""

    name: Text = ""
    config: dict[str, Text] = {}


class UserFields(_Model):
    """Credentials."""

    client_certificate: Text = Field("", alias="client-certificate")
    client_certificate_data: Data = Field(b"", alias="client-certificate-data")
    client_key: Text = Field("", alias="client-key")
    client_key_data: Data = Field(b"", alias="client-key-data")
    token: Text = ""
    token_file: Text = Field("", alias="tokenFile")
    username: Text = ""
    password: Text = ""
    impersonate: Text = Field("", alias="as")
    impersonate_uid: Text = Field("", alias="as-uid")
    impersonate_groups: list[Text] = Field([], alias="as-groups")
    impersonate_extra: dict[str, list[Text]] = Field({}, alias="as-user-extra")
    auth_provider: AuthProviderFields | None = Field(None, alias="auth-provider")
    exec: ExecFields | None = None
    extensions: Extensions = []


class ContextFields(_Model):
    """A pair of cluster and user. The namespace is not used: a cluster of KubeProbe has its own."""

    cluster: Text = ""
    user: Text = ""
    namespace: Text = ""
    extensions: Extensions = []


class NamedCluster(_Model):
    """An entry of `clusters`."""

    name: Text = ""
    cluster: ClusterFields = ClusterFields()


class NamedUser(_Model):
    """An entry of `users`."""

    name: Text = ""
    user: UserFields = UserFields()


class NamedContext(_Model):
    """An entry of `contexts`."""

    name: Text = ""
    context: ContextFields = ContextFields()


class Preferences(_Model):
    """Of kubectl's output; not used."""

    colors: bool = False
    extensions: Extensions = []


class KubeConfig(_Model):
    """A whole kubeconfig."""

    kind: Text = ""
    api_version: Text = Field("", alias="apiVersion")
    current_context: Text = Field("", alias="current-context")
    clusters: Annotated[list[NamedCluster], AfterValidator(_refuse_duplicates)] = []
    users: Annotated[list[NamedUser], AfterValidator(_refuse_duplicates)] = []
    contexts: Annotated[list[NamedContext], AfterValidator(_refuse_duplicates)] = []
    preferences: Preferences = Preferences()
    extensions: Extensions = []


def describe_problems(error: ValidationError, place: str = "") -> str:
    """The problems of a value, each with its place below `place`, such as `users[0].user.exec.args[1]`."""
    problems = [_describe(each, place) for each in error.errors(include_url=False)]
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def validate(model: type[_Model], value: Any, place: str) -> Any:
    """The value as a model. Raises InvalidInputError with the places of its problems, and without values."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(describe_problems(error, place)) from None


def _describe(problem: ErrorDetails, place: str) -> str:
    where = _path(problem["loc"], place)
    if expected := _EXPECTED.get(problem["type"]):
        found = next((name for kind, name in _KINDS if isinstance(problem["input"], kind)), "a value")
        hint = ": write it in quotes" if expected == "text" and found in {"a number", "true or false"} else ""
        return f"{where} is {found}; expected {expected}{hint}"
    return f"{where} {problem['msg']}"


def _path(location: Iterable[int | str], place: str) -> str:
    path = place
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path or "the file"
