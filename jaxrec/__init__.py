"""Sequential recommendation in JAX.

    rec = jaxrec.load("runs/first")
    rec.recommend([["42", "7"]], k=10)

Names are imported when they are first used: `import jaxrec` costs nothing.
"""

import importlib
from typing import Any

_HOME = {
    "load": "jaxrec.serve.workdir",
    "load_portable": "jaxrec.serve.portable",
    "Recommendation": "jaxrec.serve.recommendation",
    "Recommender": "jaxrec.serve.recommender",
}

__all__ = ["Recommendation", "Recommender", "load", "load_portable"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    attribute = name.removesuffix("_portable")
    return getattr(importlib.import_module(_HOME[name]), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
