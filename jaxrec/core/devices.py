"""What the devices of this process can do."""

import jax


def has_copy_engine(device: jax.Device | None = None) -> bool:
    """Whether a device is an NVIDIA GPU with the copy engine of Hopper (H100) or newer.

    Args:
        device: The first device of the default backend if not given.
    """
    return _capability(device) >= 9


def multiplies_in_warpgroups(device: jax.Device | None = None) -> bool:
    """Whether a device has the matrix products of Hopper, which Blackwell replaced.

    Args:
        device: The first device of the default backend if not given.
    """
    return 9 <= _capability(device) < 10


def multiplies_bfloat16(device: jax.Device | None = None) -> bool:
    """Whether a device is an NVIDIA GPU whose tensor cores take bfloat16 (Ampere on).

    Args:
        device: The first device of the default backend if not given.
    """
    return _capability(device) >= 8


def _capability(device: jax.Device | None) -> float:
    return float(getattr(device or jax.devices()[0], "compute_capability", 0))
