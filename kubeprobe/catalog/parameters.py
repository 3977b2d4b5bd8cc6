"""Validating the parameters of a manual run by the same rules as those of a case."""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from kubeprobe.catalog.model.base import Environment
from kubeprobe.catalog.policy import loader_variables
from kubeprobe.catalog.problems import shorten
from kubeprobe.catalog.yamlfile import is_storable
from kubeprobe.errors import InvalidInputError

_SHOWN = 20
_ENVIRONMENT: TypeAdapter[dict[str, str]] = TypeAdapter(Environment)


def check_parameters(given: Mapping[str, object]) -> dict[str, str]:
    """The parameters, if all names are environment variable names and all values strings.

    Raises InvalidInputError with every problem.
    """
    try:
        found = _ENVIRONMENT.validate_python(dict(given))
    except ValidationError as error:
        problems = [
            f"parameter {shorten(str(one['loc'][0]))}: {shorten(one['msg'])}" for one in error.errors()[:_SHOWN]
        ]
        raise InvalidInputError("; ".join(problems)) from None
    problems = [f"parameter {name}: it makes a program load other code" for name in loader_variables(found)]
    problems += [
        f"parameter {name}: the text contains NUL or half a surrogate pair"
        for name, value in found.items()
        if not is_storable(value)
    ]
    if problems:
        raise InvalidInputError("; ".join(problems))
    return found
