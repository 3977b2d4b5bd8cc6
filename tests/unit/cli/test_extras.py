"""Commands that need an extra name it if it is not installed."""

import sys

import pytest
from typer.testing import CliRunner

from kubeprobe.cli.commands import app
from kubeprobe.errors import MissingExtraError, extra


@pytest.mark.parametrize(
    ("command", "package", "name"), [("up", "honcho.manager", "local"), ("shell", "IPython", "shell")]
)
def test_a_command_without_its_extra_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, command: str, package: str, name: str
) -> None:
    for module in [one for one in sys.modules if one == "kubeprobe.up" or one.startswith("kubeprobe.up.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2
    assert f"`kubeprobe {command}` needs " in result.stderr
    assert f"pip install 'kubeprobe[{name}]'" in result.stderr


def test_a_missing_kubeprobe_module_is_not_reported_as_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError), extra("local", "kubeprobe up"):
        raise ModuleNotFoundError(name="kubeprobe.nowhere")
    with pytest.raises(MissingExtraError), extra("local", "kubeprobe up"):
        raise ModuleNotFoundError(name="honcho")
