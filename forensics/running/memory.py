"""The C library's memory allocator. No torch in here: scripts that only draw gain from it too."""

import contextlib
import ctypes


def tune_allocator() -> None:
    """Tell glibc to keep freed pages instead of returning them to the system.

    PyTorch and OpenCV allocate and free the same large blocks over and over. By default glibc maps each afresh, and
    the page faults cost more than a third of a step. The few largest blocks, of sizes that seldom fit where another
    one was, are still mapped: keeping them would cost a gigabyte in Xception. On other systems nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL('libc.so.6').mallopt
        trim_threshold, mmap_threshold, mmap_max = -1, -3, -4  # the constants of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        if not mallopt(mmap_threshold, 100 * 2**20):  # more than an older glibc takes: map nothing
            mallopt(mmap_max, 0)
