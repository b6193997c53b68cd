"""The access log."""

from __future__ import annotations

import json
import logging
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from serve.access_log import AccessLog


def record(log: AccessLog, request_id: str = "r1", **more: Any) -> None:
    what = {"method": "POST", "path": "/v2/models/trading/infer", "status": 200, "seconds": 0.0015, **more}
    log.record(request_id=request_id, **what)


def lines(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_a_request_is_one_line_of_json(tmp_path: Path) -> None:
    """The line says when, what, by whom, how long, and what answered."""
    log = AccessLog(tmp_path / "logs" / "access.jsonl")
    record(log, model="trading", version="3", key="alice", rows=4, received=100, sent=50)
    log.close()
    (entry,) = lines(tmp_path / "logs" / "access.jsonl")
    time = datetime.fromisoformat(entry.pop("time"))
    assert time.tzinfo is not None
    assert entry == {
        "request_id": "r1",
        "method": "POST",
        "path": "/v2/models/trading/infer",
        "status": 200,
        "ms": 1.5,
        "model": "trading",
        "version": "3",
        "key": "alice",
        "rows": 4,
        "received": 100,
        "sent": 50,
    }


def test_lines_come_by_themselves(tmp_path: Path) -> None:
    """What is recorded is in the file soon after, without being asked for."""
    path = tmp_path / "access.jsonl"
    log = AccessLog(path, flush_seconds=0.01)
    record(log)
    waited = threading.Event()
    for _ in range(200):
        if path.read_text():
            break
        waited.wait(0.01)
    assert lines(path)[0]["request_id"] == "r1"
    log.close()
    record(log)
    log.flush()
    assert len(lines(path)) == 1


@pytest.mark.parametrize("evil", ['a"\n{"status": 200}', "\ud800", "x" * 10_000, "\x00\x1b[31m"])
def test_nobody_can_forge_a_line(tmp_path: Path, evil: str) -> None:
    """Whatever stands in a path or an id, a request stays one line of valid JSON and of bounded length."""
    log = AccessLog(tmp_path / "access.jsonl")
    record(log, evil, path="/" + evil, error=evil)
    log.close()
    text = (tmp_path / "access.jsonl").read_bytes()
    assert text.count(b"\n") == 1
    assert len(text) < 8_000
    assert json.loads(text)["status"] == 200


def test_a_full_file_is_put_by(tmp_path: Path) -> None:
    """The file is renamed at its limit, as many are kept as were asked for, and the latest lines are in the first."""
    path = tmp_path / "access.jsonl"
    log = AccessLog(path, max_bytes=1000, backups=2, flush_seconds=60)
    for number in range(100):
        record(log, f"r{number}")
        log.flush()
    log.close()
    files = [path, *(path.with_name(f"access.jsonl.{number}") for number in (1, 2))]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files} | {"access.jsonl.lock"}
    assert all(file.stat().st_size < 1400 for file in files)
    found = [entry["request_id"] for entry in lines(*reversed(files))]
    assert found == [f"r{number}" for number in range(100 - len(found), 100)]


def test_a_file_moved_by_another_is_begun_anew(tmp_path: Path) -> None:
    """`logrotate` may rename the file; later lines are in a new one."""
    path = tmp_path / "access.jsonl"
    log = AccessLog(path, flush_seconds=60)
    record(log, "old")
    log.flush()
    path.rename(tmp_path / "elsewhere")
    record(log, "new")
    log.close()
    assert [entry["request_id"] for entry in lines(tmp_path / "elsewhere", path)] == ["old", "new"]


def test_replicas_share_a_file(tmp_path: Path) -> None:
    """Several writers that rotate one file lose no line and tear none."""
    path = tmp_path / "access.jsonl"
    logs = [AccessLog(path, max_bytes=20_000, backups=100, flush_seconds=0.002) for _ in range(4)]

    def write(name: int) -> None:
        for number in range(500):
            record(logs[name], f"{name}/{number}")
            if number % 10 == 0:
                logs[name].flush()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    files = [file for file in tmp_path.iterdir() if not file.name.endswith(".lock")]
    assert len(files) > 3
    found = [entry["request_id"] for entry in lines(*files)]
    assert sorted(found) == sorted(f"{name}/{number}" for name in range(4) for number in range(500))


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines that cannot be written are counted, trouble is logged once, and requests go on."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full, a disk that is always full, is a thing of Linux")
    os.symlink(full, tmp_path / "access.jsonl")
    log = AccessLog(tmp_path / "access.jsonl", flush_seconds=60)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            record(log)
            log.flush()
    log.close()
    assert log.lost == 3
    assert len(caplog.records) == 1


def test_waiting_lines_are_bounded(tmp_path: Path) -> None:
    """A disk that does not keep up costs lines, not memory."""
    log = AccessLog(tmp_path / "access.jsonl", max_waiting=10, flush_seconds=60)
    for number in range(25):
        record(log, f"r{number}")
    assert log.lost == 15
    log.close()
    assert len(lines(tmp_path / "access.jsonl")) == 10


def test_without_a_file_nothing_is_written() -> None:
    """A log without a path takes everything and keeps nothing."""
    log = AccessLog(None)
    record(log)
    log.close()
    assert log.lost == 0
