"""Which modules are instrumented for a target: to instrument all takes seconds, and most say nothing about a reader."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTRUMENTED = ("kubeprobe", "kubeprobe_client", "probes")


def not_instrumented(target: Path) -> list[str]:
    """Names of all modules outside of the packages (such as `kubeprobe.catalog`) that a target imports from."""
    imported: list[str] = []
    for node in ast.walk(ast.parse(target.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    packages = {".".join(name.split(".")[:2]) for name in imported}
    files = (file for package in INSTRUMENTED for file in (ROOT / package).rglob("*.py"))
    modules = (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return [name for name in modules if not f"{name}.".startswith(tuple(f"{package}." for package in packages))]
