"""`import jaxrec` is cheap, and its names are found when they are used."""

import subprocess
import sys

import pytest

import jaxrec


def test_public_names():
    assert set(jaxrec.__all__) <= set(dir(jaxrec))
    for name in jaxrec.__all__:
        assert getattr(jaxrec, name).__name__ == name.removesuffix("_portable")
    assert jaxrec.load.__module__ == "jaxrec.serve.workdir"
    assert jaxrec.load_portable.__module__ == "jaxrec.serve.portable"


def test_no_other_names():
    with pytest.raises(AttributeError, match="has no attribute 'lood'"):
        jaxrec.lood  # noqa: B018


def test_importing_it_imports_nothing_heavy():
    code = "import sys, jaxrec; print({'jax', 'numpy', 'orbax'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
