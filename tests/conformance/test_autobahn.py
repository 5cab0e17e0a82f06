"""What drives the suite, without the suite: the echo, the page, and what is said without Python 2.7."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from conformance import autobahn
from conformance.autobahn_report import Found, page, read_results
from conformance.wire_echo import Echo, send_binary, serve

from sansio_rt._wire import BinaryMessage, HandshakeAccepted, TextMessage, Wire, WireClosed


async def test_the_echo_sends_back_text_and_binary() -> None:
    client = Wire.client("localhost", "/", random_bytes=bytes)
    ours, theirs = trio.testing.memory_stream_pair()
    seen: list[object] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, theirs)
            while not seen or not isinstance(seen[-1], WireClosed):
                await ours.send_all(client.data_to_send())
                client.receive_data(await ours.receive_some())
                while (event := client.next_event()) is not None:
                    seen.append(event)
                    match event:
                        case HandshakeAccepted():
                            client.send_text("Grüße".encode())
                            send_binary(client, b"\xff\x00")
                        case BinaryMessage():
                            client.close(1000)
    texts = [event.data for event in seen if isinstance(event, TextMessage | BinaryMessage)]
    assert texts == ["Grüße".encode(), b"\xff\x00"]
    assert seen[-1] == WireClosed(1000, "", by_peer=False, clean=True)


async def test_an_echo_may_keep_what_it_gets() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = Wire.server()
    echo = Echo(Wire.client("localhost", "/", random_bytes=bytes), ours, replies=False)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo.run)
            server.receive_data(await theirs.receive_some())
            server.accept()
            server.send_text(b"517")
            server.close()
            await theirs.send_all(server.data_to_send())
            server.receive_data(await theirs.receive_some())
    assert echo.texts == ["517"]


def test_each_kind_of_verdict_is_counted_and_what_is_not_fine_is_named() -> None:
    results = {
        "client": [
            Found("1.1.1", "OK", "OK"),
            Found("3.2", "NON-STRICT", "OK"),
            Found("7.1.6", "INFORMATIONAL", "INFORMATIONAL", "Nobody knows.", "Send 256K."),
            Found("12.1.1", "UNIMPLEMENTED", "OK"),
            Found("10.1.1", "OK", "WRONG CODE", "Expected 1000."),
            Found("10.1.2", "FAILED", "OK", "No echo."),
        ]
    }
    text = page(results, versions="V", limits="L")
    assert "| all 6 | 1 | 1 | 1 | 1 | 2 |" in text
    assert "| 10.\\* misc |  |  |  |  | 2 |" in text
    assert "- Non-strict: 3.2. The suite sends" in text
    assert "- Informational: 7.1.6 (Send 256K). Nobody knows." in text
    assert "- 10.1.1 (WRONG CODE): Expected 1000." in text
    assert "- 10.1.2 (FAILED): No echo." in text


def test_reports_are_read_in_the_order_of_the_suite(tmp_path: Path) -> None:
    assert read_results(tmp_path, "me") == []
    entries = {
        case: {"behavior": "OK", "behaviorClose": "OK", "reportfile": f"{case}.json"}
        for case in ("10.1.1", "2.10", "2.9")
    }
    (tmp_path / "index.json").write_text(json.dumps({"me": entries}))
    for case in entries:
        details = {"result": "Fine<br>", "description": "Do  <b>it</b>"}
        (tmp_path / f"{case}.json").write_text(json.dumps(details))
    found = read_results(tmp_path, "me")
    assert [one.case for one in found] == ["2.9", "2.10", "10.1.1"]
    assert found[0] == Found("2.9", "OK", "OK", "Fine", "Do it")
    assert read_results(tmp_path, "another") == []


def test_without_python_2_7_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert autobahn.main(["--cache", str(tmp_path)]) == 2
    assert "pyenv install 2.7.18" in capsys.readouterr().err
    assert autobahn.main(["--cache", str(tmp_path), "--python", "/bin/false"]) == 2
    assert "/bin/false is no Python 2.7" in capsys.readouterr().err


def test_no_case_failed_where_the_page_was_written() -> None:
    lines = autobahn.PAGE.read_text().splitlines()
    totals = [line for line in lines if line.startswith("| all ")]
    assert len(totals) == 2
    assert len({line.split("|")[1] for line in totals}) == 1  # as many cases in each role
    for line in totals:
        assert line.split("|")[-2].strip() == ""
