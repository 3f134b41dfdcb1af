"""Flags with which XLA compiles fast, for programs that have nothing to compute."""

import importlib.metadata

QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    QUICK += " --xla_cpu_use_fusion_emitters=false"  # An unknown flag ends the process.


def flags(devices: int) -> str:
    """What XLA_FLAGS is to be for so many CPU devices."""
    return f"--xla_force_host_platform_device_count={devices} {QUICK}"
