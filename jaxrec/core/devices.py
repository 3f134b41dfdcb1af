"""What the devices of this process can do."""

import jax


def runs_hopper_kernels(device: jax.Device | None = None) -> bool:
    """Whether a device runs our GPU kernels.

    They are written for the copy engine and the asynchronous products of NVIDIA's
    Hopper (compute capability 9.0, the H100 and H200) and newer.

    Args:
        device: The first device of the default backend if not given.
    """
    return _capability(device) >= 9


def multiplies_bfloat16(device: jax.Device | None = None) -> bool:
    """Whether a device is an NVIDIA GPU whose tensor cores take bfloat16 (Ampere on).

    Args:
        device: The first device of the default backend if not given.
    """
    return _capability(device) >= 8


def _capability(device: jax.Device | None) -> float:
    return float(getattr(device or jax.devices()[0], "compute_capability", 0))
