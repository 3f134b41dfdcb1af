"""Every test sees eight CPU devices, so that sharding is tested where it is used.

Most of the time goes into compiling. So XLA compiles without optimising, by its older
code generators where it still has them, each program as one piece and without a record
of the lines that it is of: a third of the time or less, for programs that have next to
nothing to compute. And what takes long to compile, often the same again in a run that
resumes or in a process that a test starts, is kept for the length of the session, by
each worker of pytest-xdist for itself and for the processes that it starts.
"""

import gc
import os
import shutil
import tempfile

from tests.xla_flags import flags

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags(devices=8)}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"

# Programs are large trees of Python objects that live on: looking for garbage among
# them time and again is one part in 25.
gc.set_threshold(100_000, 50, 100)

_COMPILED = tempfile.mkdtemp(prefix="jaxrec-compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

# Files are handed to workers in order: a long one at the end would leave the others
# idle. These take a minute or more with few tests in them.
_LONGEST = ("test_configs.py", "test_two_processes.py", "test_checkpoint_processes.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in _LONGEST)


def pytest_unconfigure():
    shutil.rmtree(_COMPILED, ignore_errors=True)
