"""PyTorch, which only the peers need: the optional extra ``bench``."""

import os
from collections.abc import Callable


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


def trained_by(
    model, loss: Callable, optimizer, threads: int, bfloat16: bool = False
) -> Callable:
    """Returns a function (tokens, labels) -> loss that trains `model` by one step.

    The gradient is cut at norm 5.

    Args:
        model: On its device; is put into training mode.
        loss: (tokens, labels) -> mean loss of the model.
        optimizer: Of its parameters.
        threads: CPU threads of PyTorch, set at every call.
        bfloat16: Whether matrix products run in bfloat16 (autocast).
    """
    torch = import_torch()
    device = next(model.parameters()).device.type
    model.train()

    def step(tokens, labels):
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            value = loss(tokens, labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        return value.detach()

    return step
