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


RELEASE = """
import ctypes
from jaxrec.core.allocator import keep_freed_memory, release_unused_memory
if not keep_freed_memory():
    print("cannot")
    raise SystemExit
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
libc, size = ctypes.CDLL(None), 1 << 20
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(size) for _ in range(200)]
for block in blocks:
    ctypes.memset(block, 1, size)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident()
release_unused_memory()
print(before - resident())
"""


def test_what_was_kept_can_be_released():
    command = [sys.executable, "-c", RELEASE]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if found.strip() == "cannot":
        pytest.skip("the C library has no mallopt")
    assert int(found) > 150 << 20
