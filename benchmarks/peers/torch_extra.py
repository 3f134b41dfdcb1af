"""PyTorch, which only the peers need: the optional extra ``bench``."""

import os


def import_torch():
    """Returns the module torch.

    OpenMP threads are told to sleep while they wait, unless ``OMP_WAIT_POLICY`` says
    otherwise. By default they spin, which on a machine with other work to do made a
    training step on two threads cost four times the CPU time of one thread (3.5 s
    against 0.9 s; asleep 0.9 s): a comparison against that is none.

    Raises:
        ImportError: If it is not installed; says how to get it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "this peer needs PyTorch, which is not installed: "
            "pip install 'jaxrec[bench]'"
        ) from error
    return torch


def default_device() -> str:
    """Returns "cuda" where PyTorch sees a GPU, else "cpu"."""
    return "cuda" if import_torch().cuda.is_available() else "cpu"


def compile_for_gpu(function, device: str):
    """Compiles a function with `torch.compile`, for a GPU.

    Raises:
        ValueError: If `device` is no GPU. On a CPU the peers run as their authors run
            them, and a compiler may not be there.
    """
    if not device.startswith("cuda"):
        raise ValueError(f"torch.compile is for GPU peers, the device is {device!r}")
    return import_torch().compile(function)
