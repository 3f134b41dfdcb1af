"""Who may import whom, checked on the syntax trees of every source file.

    core <- data, models, losses, retrieval <- eval, features, simulate, explore
         <- tasks <- main, serve

A module imports from its own part, and from parts to the left of it as listed below.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("jaxrec", "jaxbio")

# What each part of jaxrec may import of ours besides itself. Parts that are not named
# (interop.py, main.py, recommend.py, ...) stand at the end and may import all.
MAY_IMPORT = {
    "core": set(),
    "data": {"core"},
    "models": {"core"},
    "losses": {"core"},
    "retrieval": {"core"},
    "eval": {"core", "data", "models", "losses", "retrieval"},
    "features": {"core", "data"},
    "simulate": {"core", "data", "models", "losses", "retrieval"},
    "explore": {"core", "data", "models", "losses", "retrieval"},
    "tasks": {
        *("core", "data", "models", "losses", "retrieval"),
        *("eval", "features", "simulate", "explore"),
    },
}
DATA_NEVER = {"jax", "jaxlib", "flax", "optax", "orbax"}  # numpy only
MODELS_NEVER = {"optax", "orbax"}  # know no optimiser


def imported(
    source: str, module: str, *, is_package: bool
) -> Iterator[tuple[int, str]]:
    """Yields line and full dotted name of all that a module imports, at any depth.

    Args:
        source: The module's text.
        module: Its dotted name, against which relative imports are resolved.
        is_package: Whether it is an ``__init__.py``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package else -1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            # "from jaxrec import core" imports jaxrec.core.
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


def part_of(dotted: str) -> str:
    """Returns the part of jaxrec that a dotted name is in: "core" of jaxrec.core.x."""
    return dotted.split(".")[1] if dotted.count(".") else ""


def is_forbidden(module: str, name: str) -> bool:
    """Whether `module` must not import `name` (both dotted)."""
    package, part = name.split(".")[0], part_of(module)
    if module.split(".")[0] == "jaxbio":
        return package == "jaxrec" and part_of(name) != "core"
    if part == "data" and package in DATA_NEVER:
        return True
    if part == "models" and package in MODELS_NEVER:
        return True
    if package == "jaxbio":
        return True
    if package != "jaxrec" or part not in MAY_IMPORT:
        return False
    return part_of(name) not in {part, *MAY_IMPORT[part]}


def offences(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Returns what a module imports against the rules, as "line: name"."""
    return [
        f"{line}: {name}"
        for line, name in imported(source, module, is_package=is_package)
        if is_forbidden(module, name)
    ]


def sources() -> list[Path]:
    return sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def test_there_are_sources():
    names = {path.relative_to(ROOT).as_posix() for path in sources()}
    assert {"jaxrec/main.py", "jaxrec/core/cli.py", "jaxrec/data/__init__.py"} <= names


@pytest.mark.parametrize(
    "path", sources(), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    assert offences(path.read_text(), module, is_package=is_package) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jaxrec.core.train", "import jaxrec.data"),
        ("jaxrec.core.train", "from jaxrec import models"),
        ("jaxrec.core.train", "from jaxrec.models.lru import init"),
        ("jaxrec.core.train", "from ..models import lru"),
        ("jaxrec.core.train", "from .. import tasks"),
        ("jaxrec.core.train", "def f():\n    from jaxrec.data import load"),
        ("jaxrec.core.train", "if True:\n    import jaxbio"),
        ("jaxrec.core.train", "import jaxrec"),
        ("jaxrec.data.text", "import jax.numpy as jnp"),
        ("jaxrec.data.text", "from jax import numpy"),
        ("jaxrec.data.builders.ml1m.builder", "import jax"),
        ("jaxrec.data.text", "from jaxrec.losses import softmax"),
        ("jaxrec.models.lru", "from jaxrec.data import load"),
        ("jaxrec.models.lru", "from jaxrec.losses.softmax import x"),
        ("jaxrec.models.lru", "import optax"),
        ("jaxrec.losses.softmax", "from jaxrec.models import lru"),
        ("jaxrec.retrieval.topk", "import jaxrec.eval.metrics"),
        ("jaxrec.eval.ranking", "from jaxrec.tasks import next_item"),
        ("jaxrec.tasks.next_item", "from jaxrec.serve import recommender"),
        ("jaxrec.tasks.next_item", "import jaxrec.main"),
        ("jaxbio.clustering.task", "from jaxrec.data import load"),
        ("jaxbio.clustering.task", "from jaxrec import load"),
        ("jaxrec.serve.app", "import jaxbio.protein"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    (offence,) = offences(source, module)
    assert offence.startswith(f"{source.count(chr(10)) + 1}: ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jaxrec.core.train", "import jax, optax\nfrom jaxrec.core import metrics"),
        ("jaxrec.core.train", "from . import metrics\nfrom .metrics import x"),
        ("jaxrec.data.text", "import numpy\nfrom jaxrec.core.config import nearest"),
        ("jaxrec.models.lru", "import jax\nfrom jaxrec.models import blocks"),
        ("jaxrec.eval.report", "import jaxrec.data\nfrom jaxrec.retrieval import topk"),
        ("jaxrec.tasks.next_item", "import jaxrec.data\nfrom jaxrec.eval import x"),
        ("jaxrec.main", "from jaxrec.core import cli\nimport jaxrec.tasks"),
        ("jaxrec.recommend", "from jaxrec.serve import recommender"),
        ("jaxbio.clustering.task", "from jaxrec.core.train import fit\nimport jaxbio"),
    ],
)
def test_an_allowed_import_is_allowed(module, source):
    assert offences(source, module) == []


def test_relative_imports_of_a_package():
    assert offences("from .text import x", "jaxrec.data", is_package=True) == []
    assert offences("from ..tasks import x", "jaxrec.data", is_package=True)
