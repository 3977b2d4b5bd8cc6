"""Validating the parameters of a manual run by the same rules as those of a case."""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from kubeprobe.catalog.model.base import Environment
from kubeprobe.errors import InvalidInputError

_ENVIRONMENT: TypeAdapter[dict[str, str]] = TypeAdapter(Environment)


def check_parameters(given: Mapping[str, object]) -> dict[str, str]:
    """The parameters, if all names are environment variable names and all values strings.

    Raises InvalidInputError with every problem.
    """
    try:
        return _ENVIRONMENT.validate_python(dict(given))
    except ValidationError as error:
        problems = [f"parameter {found['loc'][0]}: {found['msg']}" for found in error.errors()]
        raise InvalidInputError("; ".join(problems)) from None
