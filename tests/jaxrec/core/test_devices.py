"""What is concluded from the name that a device gives its generation."""

from typing import NamedTuple

import jax
import pytest

from jaxrec.core import devices


class Device(NamedTuple):
    compute_capability: str


@pytest.mark.parametrize(
    ("capability", "bfloat16", "copies", "warpgroups"),
    [
        ("7.5", False, False, False),  # T4
        ("8.0", True, False, False),  # A100
        ("9.0", True, True, True),  # H100
        ("10.0", True, True, False),  # B200
    ],
)
def test_generations_of_gpus(capability, bfloat16, copies, warpgroups):
    device = Device(capability)
    assert devices.multiplies_bfloat16(device) == bfloat16
    assert devices.has_copy_engine(device) == copies
    assert devices.multiplies_in_warpgroups(device) == warpgroups


def test_a_cpu_has_none_of_it():
    device = jax.devices()[0]
    assert device.platform == "cpu"
    for question in (
        devices.multiplies_bfloat16,
        devices.has_copy_engine,
        devices.multiplies_in_warpgroups,
    ):
        assert not question()
        assert not question(device)
