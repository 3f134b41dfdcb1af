"""What a training does not need to begin is not imported before it begins."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Half a second to several: data that are prepared already, a configuration with a
# mistake and a run that saves nothing yet do without.
HEAVY = (
    "grain",
    "matplotlib",
    "orbax",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
)
PARTS = {
    "program": ("import jaxrec.main", ("jax", "optax", "numpy", *HEAVY)),
    "task": ("import jaxrec.tasks.next_item", HEAVY),
    "checkpoints": (
        "import sys\n"
        "from jaxrec.core.checkpoint import Checkpoints\n"
        "checkpoints = Checkpoints(sys.argv[1])\n"
        "assert checkpoints.restore_last({}) is None\n"
        "checkpoints.close()",
        HEAVY,
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_no_more_than_it_needs(part, tmp_path):
    program, unwanted = PARTS[part]
    program += "\nimport sys\nprint(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert not {*unwanted} & {*done.stdout.split()}
