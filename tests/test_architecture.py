"""The layout holds: imports point one way, and flags are read where the command line is."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("modeling", "tokenization", "training", "pretraining", "finetuning")
MAY_IMPORT = {
    "modeling": {"modeling"},
    "tokenization": {"tokenization"},
    "training": {"training", "modeling", "tokenization"},
    "pretraining": {"pretraining", "training", "modeling", "tokenization"},
    "finetuning": {"finetuning", "training", "modeling", "tokenization"},
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
SCRIPTS = sorted(path for path in ROOT.glob("*.py") if path.name != "setup.py")
ALL = FILES + SCRIPTS
WITH_FLAGS = {
    f"training/{name}.py"
    for name in ("app", "common_flags", "data_flags", "device_flags", "dry_run", "evaluation_flags")
}
WITH_FLAGS |= {f"pretraining/{name}.py" for name in ("masking_flags", "phase_flags")}
WITH_FLAGS |= {
    f"finetuning/{name}.py"
    for name in (
        "task_training",
        "distillation_flags",
        "ensemble",
        "feature_flags",
        "squad_flags",
        "sweep_flags",
        "task_flags",
    )
}


def imported(path):
    """Returns the dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def of(path):
    return str(path.relative_to(ROOT))


def functions(path):
    """Yields (name, lines without docstring) of every function in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            skipped = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
            yield node.name, node.end_lineno - node.lineno + 1 - skipped


@pytest.mark.parametrize("path", FILES, ids=of)
def test_imports_point_one_way(path):
    ours = {name.split(".")[0] for name in imported(path)} & {*PACKAGES, "tests", "benchmarks"}
    assert ours <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", FILES, ids=of)
def test_flags_belong_to_the_command_line(path):
    if of(path) not in WITH_FLAGS:
        assert not any(name.startswith("absl.flags") for name in imported(path))


@pytest.mark.parametrize("path", ALL, ids=of)
def test_tensorflow_text_is_imported_in_one_place(path):
    if of(path) != "tokenization/graph.py":
        assert not any(name.startswith("tensorflow_text") for name in imported(path))


@pytest.mark.parametrize("path", sorted((ROOT / "tokenization").glob("*.py")), ids=of)
def test_tokenization_imports_without_tensorflow(path):
    if path.name != "graph.py":
        top_level = ast.Module([n for n in ast.parse(path.read_text()).body], [])
        names = [n for n in top_level.body if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not any("tensorflow" in ast.unparse(name) for name in names)


@pytest.mark.parametrize("path", ALL, ids=of)
def test_functions_are_short(path):
    limit = 60 if path in SCRIPTS else 45
    assert not {name: lines for name, lines in functions(path) if lines > limit}


@pytest.mark.parametrize("path", ALL, ids=of)
def test_modules_are_short(path):
    assert len(path.read_text().splitlines()) <= 330


@pytest.mark.parametrize("path", ALL, ids=of)
def test_modules_say_what_they_are(path):
    tree = ast.parse(path.read_text())
    assert path.name == "__init__.py" or ast.get_docstring(tree)


def test_packages_are_one_level_deep():
    assert all(len(path.relative_to(ROOT).parts) == 2 for path in FILES)


def test_every_package_is_listed_in_setup():
    listed = {
        element.value
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "packages"
        for element in node.value.elts
    }
    assert listed == set(PACKAGES)
