"""Event files, read back by hand and by the types of tensorboardX, if installed."""

import struct
import sys

import pytest

from jaxrec.core.metrics import MetricWriter
from jaxrec.core.tensorboard import EventFile, _masked_crc, _varint


def records(path):
    """The data of each TFRecord, its CRCs checked."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data = content[12 : 12 + length]
        assert content[8:12] == _masked_crc(content[:8])
        assert content[12 + length : 16 + length] == _masked_crc(data)
        found.append(data)
        content = content[16 + length :]
    return found


def test_crc_is_castagnolis():
    # RFC 3720, B.4: 32 bytes of zeros give 0x8A9136AA; masked as TFRecord does.
    crc = 0x8A9136AA
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert _masked_crc(bytes(32)) == struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def test_varints():
    assert _varint(0) == b"\x00"
    assert _varint(300) == b"\xac\x02"  # the example of the protocol buffers manual
    assert len(_varint(-1)) == 10


def test_bytes_of_a_scalar(tmp_path):
    file = EventFile(tmp_path, first_step=5)
    file.scalars(300, {"a": 0.5})
    file.close()
    version, start, scalar = records(next(tmp_path.glob("events.out.tfevents.*")))
    time = slice(0, 9)
    assert version[time][0] == 1 << 3 | 1  # field 1, eight bytes
    assert version[9:] == b"\x1a\x0dbrain.Event:2"
    assert start[9:] == b"\x10\x05" + b"\x3a\x02\x08\x01"
    value = b"\x0a\x01a" + b"\x15" + struct.pack("<f", 0.5)
    summary = b"\x0a" + bytes([len(value)]) + value
    assert scalar[9:] == b"\x10\xac\x02" + b"\x2a" + bytes([len(summary)]) + summary


def test_as_tensorboard_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # tensorboardX would import it
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    writer = MetricWriter(tmp_path)
    writer.resume(-1)
    writer.write(1, "train", {"loss": 2.5, "huge": 1e300, "lost": float("nan")})
    writer.resume(1)
    writer.write(2, "valid", {"ndcg@10": 0.25})
    writer.close()
    events = [
        event_pb2.Event.FromString(data)
        for path in sorted(tmp_path.glob("events.out.tfevents.*"))
        for data in records(path)
    ]
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts == [0, 2]  # from where on TensorBoard forgets what was there
    values = [
        (event.step, value.tag, value.simple_value)
        for event in events
        for value in event.summary.value
    ]
    assert values[0] == (1, "train/loss", 2.5)
    assert values[1] == (1, "train/huge", float("inf"))
    assert values[2][2] != values[2][2]
    assert values[3:] == [(2, "valid/ndcg@10", 0.25)]


def test_can_be_left_out(tmp_path):
    writer = MetricWriter(tmp_path, tensorboard=False)
    writer.resume(-1)
    writer.write(1, "train", {"loss": 2.5})
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
