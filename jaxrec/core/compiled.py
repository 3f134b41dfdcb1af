"""Compiled programs that the next process finds: a second start takes a third of the
first one's CPU time (LRURec on MovieLens-100K).

This is JAX's persistent compilation cache with a place of its own. What comes from it
is the program that was put into it, so that a run which goes on computes the same bits.
"""

import hashlib
import platform
from pathlib import Path

from jaxrec.core.cache_directory import cache_directory

_WORTH_KEEPING = 0.2  # seconds of compilation


def keep_compiled_programs() -> Path | None:
    """Turns the cache on, unless the user has chosen another or none.

    Programs lie under the cache directory, apart for every processor and version of
    jaxlib: JAX does not tell processors apart, and one may lack the instructions of
    another that shares the directory.

    Returns:
        The directory, or None if the user's own choice was left alone.
    """
    import jax  # 0.7 s, which --help and a config error save
    import jaxlib

    chosen = jax.config.jax_compilation_cache_dir
    if chosen is not None or not jax.config.jax_enable_compilation_cache:
        return None
    directory = cache_directory() / "compiled" / f"{jaxlib.__version__}-{_processor()}"
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory


def _processor() -> str:
    """A name for the kind of processor and what it can do."""
    told = [platform.machine(), platform.processor()]
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(errors="replace").splitlines()
        names = ("model name", "flags", "Features")
        told += sorted({line for line in lines if line.startswith(names)})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
