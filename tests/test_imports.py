"""Imports go one way (docs/architecture.md): no package knows one that is built on it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vonenet"
LEAVES = {"bars", "errors", "files", "identity", "names"}  # anyone may import these
ALLOWED = {
    "bars": set(),
    "errors": set(),
    "files": set(),
    "identity": set(),
    "names": set(),
    "v1": set(),
    "backbones": set(),
    "results": set(),
    "data": set(),
    "training": {"data", "results", "robustness"},
    "robustness": {"data", "results"},
    "physiology": {"data", "results"},
    "report": {"physiology", "results"},
    "frontends": {"v1"},
    "model": {"v1", "frontends", "backbones"},
    "zoo": {"v1", "frontends", "backbones", "model", "data", "results"},
    "vonenet": {"v1", "zoo"},
    "modules": {"v1"},
    "params": {"v1"},
    "back_ends": {"backbones"},
}
# Where everything meets
TOP = {"__main__", "cli"}


def packages():
    return sorted({path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in modules()})


def modules():
    return [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            assert name != "vonenet", f"{path} imports the whole package"
            if name.startswith("vonenet."):
                yield name.split(".")[1]


def test_the_map_covers_every_package():
    assert set(packages()) == set(ALLOWED) | TOP


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package):
    for path in modules():
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") == package:
            foreign = set(imported_packages(path)) - {package} - LEAVES
            assert foreign <= ALLOWED[package], f"{path.relative_to(SOURCE)} imports {foreign}"


def test_nothing_imports_the_command():
    for path in modules():
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        assert package == "__main__" or "cli" not in set(imported_packages(path)) - {package}
