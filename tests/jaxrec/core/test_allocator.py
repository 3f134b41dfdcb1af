"""What the C library does with freed memory, in a process of its own."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes, resource, sys
from jaxrec.core.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print("cannot")
    sys.exit()
libc, size = ctypes.CDLL(None), 64 << 20
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for call in range(6):
    if call == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", COUNT, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_large_blocks_are_used_again():
    kept = faults("keep").strip()
    if kept == "cannot":
        pytest.skip("the C library has no mallopt")
    assert int(kept) < 1000  # five blocks of 16,384 pages
    assert int(faults("leave")) > 10 * 1000
