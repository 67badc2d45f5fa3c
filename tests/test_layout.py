"""The rules of the house, read from the sources: who may import whom, how long a file may be, what an import may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "pipelines", "stages", "models", "evaluation")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LINES, CORE_LINES = 600, 400
HEAVY = ("torch", "numba", "datatrove", "prefect", "ray", "duckdb", "transformers")

ALLOWED = {
    "flows": {"flows", "pipelines", "stages", "models", "evaluation"},
    "pipelines": {"pipelines", "stages"},
    "stages": {"stages", "models", "evaluation"},
    "models": {"models"},
    "evaluation": {"evaluation"},
}


def imports(path: Path, module_level: bool = False) -> set[str]:
    """Absolute names that a file imports, relative ones resolved; with `module_level` only those outside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if module_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if module_level and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            if isinstance(child, ast.ImportFrom):
                base = ".".join(package[: len(package) - child.level]) if child.level else ""
                module = ".".join(filter(None, [base, child.module or ""]))
                found.update([module, *[f"{module}.{alias.name}" for alias in child.names]])
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path):
    parts = path.relative_to(ROOT).parts
    for name in imports(path):
        top = name.partition(".")[0]
        if top in PACKAGES:
            assert top in ALLOWED[parts[0]], f"{path.name} imports {name}"
        if top == "prefect":
            assert parts[0] == "flows"
        if top == "datatrove":
            assert parts[0] == "stages"
        if parts[:2] in (("stages", "core"), ("stages", "kernels"), ("stages", "formats")) and top in PACKAGES:
            assert name.startswith(("stages.core", "stages.kernels", "stages.formats")) or name == "stages", f"{path.name} imports {name}"
            assert parts[1] == "core" or not name.startswith("stages.core"), "kernels and formats know nothing of the framework"
        if parts[0] == "stages" and len(parts) == 2 and name.startswith("stages."):
            assert name.split(".")[1] in ("core", "kernels", "formats"), f"{path.name} imports another stage, {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_level_imports(path: Path):
    parts = path.relative_to(ROOT).parts
    tops = {name.partition(".")[0] for name in imports(path, module_level=True)}
    if parts[0] != "models":
        assert "torch" not in tops
    if parts[0] == "stages" and parts[1] != "kernels":
        assert not tops & {*HEAVY, "models", "evaluation", "fasttext", "fastwarc", "resiliparse", "tokenizers"}
        assert not any(name.startswith("stages.kernels") for name in imports(path, module_level=True))


@pytest.mark.parametrize("path", SOURCES + sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_too_long(path: Path):
    assert len(path.read_text().splitlines()) <= (CORE_LINES if path.is_relative_to(ROOT / "stages" / "core") else LINES)


def test_no_file_of_flows_shadows_a_package():
    assert not {path.stem for path in (ROOT / "flows").glob("*.py")} & {*PACKAGES, "tests"}


@pytest.mark.parametrize(
    "code",
    [
        "import pkgutil, importlib, pipelines\nfor m in pkgutil.iter_modules(pipelines.__path__): importlib.import_module('pipelines.' + m.name)",
        "import sys; sys.argv = ['winnow', '--help']\nfrom flows.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["import pipelines", "winnow --help"],
)
def test_light_imports(code: str):
    check = f"\nimport sys\nprint('loaded:', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("loaded: []")
