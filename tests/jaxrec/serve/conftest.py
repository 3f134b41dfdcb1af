"""One run and its recommender for all tests: compiling is what takes time."""

import pytest
import serving_runs

from jaxrec.serve.workdir import load

LENGTHS = (4, 8)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Working directory, config and parameters of a run."""
    workdir = tmp_path_factory.mktemp("serve") / "run"
    return workdir, *serving_runs.write(workdir)


@pytest.fixture(scope="session")
def shared(run):
    return load(run[0], lengths=LENGTHS)


@pytest.fixture
def rec(shared):
    """The recommender of the run, its count of unknown ids at 0."""
    shared.unknown = 0
    return shared


@pytest.fixture(scope="session")
def expected(run):
    """Function: history of numbers -> scores (items + 1,), the model step by step."""
    _, cfg, params = run
    return lambda history: serving_runs.scores(cfg, params, list(history))
