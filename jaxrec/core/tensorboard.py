"""TensorBoard event files for scalars, written without TensorFlow.

An event file is a sequence of TFRecords: length (uint64), masked CRC-32C of the length,
data, masked CRC-32C of the data, all little-endian. The data of each record is one
`Event` protocol buffer; of its fields (tensorflow/core/util/event.proto) we write

    1 wall_time (double)   2 step (int64)   3 file_version (string)
    5 summary { 1 value { 1 tag (string), 2 simple_value (float) } }
    7 session_log { 1 status (enum, START = 1) }

We write it ourselves because tensorboardX 2.6 imports PyTorch when that is installed
(more than a second) and hands events to a thread through a bounded queue: when the disk
is full the thread ends and the training loop waits for it for ever.
"""

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxrec.core.append import AppendFile


class EventFile:
    """One event file.

    Args:
        directory: Where the file is made; TensorBoard joins the files of a directory.
        first_step: TensorBoard drops what earlier files say of this step and later.
    """

    def __init__(self, directory: str | os.PathLike[str], first_step: int):
        # TensorBoard reads the files of a directory in the order of their names.
        name = f"events.out.tfevents.{time.time_ns():020d}"
        self._file = AppendFile(Path(directory) / name)
        self._write(_bytes_field(3, b"brain.Event:2"))
        start = _bytes_field(7, _varint_field(1, 1))
        self._write(_varint_field(2, first_step) + start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars of one step, by tag."""
        summary = b""
        for tag, value in values.items():
            with np.errstate(over="ignore"):  # beyond float32: infinity
                number = np.asarray(value, "<f8").astype("<f4").tobytes()
            scalar = _bytes_field(1, tag.encode()) + b"\x15" + number
            summary += _bytes_field(1, scalar)
        self._write(_varint_field(2, step) + _bytes_field(5, summary))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, fields: bytes) -> None:
        data = b"\x09" + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(data))
        self._file.append(length + _masked_crc(length) + data + _masked_crc(data))


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(0x80 | (number & 0x7F))
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _varint_field(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes_field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
