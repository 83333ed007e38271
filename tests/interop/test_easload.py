"""easload's phones against SOGo: straight to its own port, and through the gateway."""
import json
import re
import subprocess
import time
import zlib

import pytest
from interop import HOST, STATE, lab

ALICE = ["--user", "alice", "--password", "alice-secret", "--domain", "example.com"]


def easload(*args, timeout=300):
    return subprocess.run([str(lab.BIN / "easload"), *map(str, args)], capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("version", ["12.1", "14.0", "14.1"])
def test_a_phone_straight_to_it(sogo, version):
    """Its own port closes connections without a word, so that each request has its own."""
    done = easload("phone", "-t", f"http://127.0.0.1:{sogo.env['WO_PORT']}/SOGo/Microsoft-Server-ActiveSync", *ALICE, "--protocol", version,
                   "--no-keep-alive", "--device", f"straight{version.replace('.', '')}", "--steps", "options,provision,folder-sync,sync,sync")
    assert done.returncode == 0, done
    assert done.stdout.count("Sync  ") >= 3 and "items so far" in done.stdout


def through(gateway, ca, *args):
    ticket = lab.keep_secret(gateway.ticket())
    return ["-t", f"https://{HOST}", "--topology", "sta", "--gateway", f"https://gateway.example.com:{gateway.address()[1]}",
            "--gateway-connect", "127.0.0.1:%d" % gateway.address()[1], "--ticket", ticket, "--ca", ca, *ALICE, *args]


@pytest.mark.parametrize("door", ["socks", "connect"])
def test_a_phone_is_woken_through_the_gateway(gateway, ca, sogo, door):
    way = through(gateway, ca, "--device", f"through{door}", "--door", door)
    phone = subprocess.Popen([str(lab.BIN / "easload"), "phone", *way, "--until", "ping", "--heartbeat", "120s", "-H"],
                             stdout=subprocess.PIPE, text=True)
    said = ""
    while "Cmd=Ping" not in said:
        line = phone.stdout.readline()
        assert line, said
        said += line
    time.sleep(2)  # SOGo looks now and then: a Ping that has just begun is no different to it
    sogo.deliver("alice", "Woken through the gateway")
    said += phone.stdout.read()
    assert phone.wait(30) == 0, said
    assert re.search(r"Ping +HTTP 200 .* changes", said), said


def test_some_phones_at_once(gateway, ca, sogo, tmp_path):
    way = through(gateway, ca, "--device", "some%d", "-n", 4, "-d", "12s", "--ramp", "2s", "--requests", 200, "--does", "poll", "--every",
                  "2s", "--json", tmp_path / "r.json", "--report", tmp_path / "r.html", "-q")
    done = easload("run", *way)
    assert done.returncode == 0, done
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert rows["FolderSync"]["count"] == 4 and rows["Sync"]["count"] >= 20 and rows["tunnel"]["count"] >= 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_report_in_a_browser(gateway, ca, sogo, tmp_path, scheme):
    """Chromium without scripts shows it: nothing is fetched, nothing complained of, and dark is dark."""
    done = easload("run", *through(gateway, ca, "--device", f"report{scheme}%d", "-n", 2, "-d", "4s", "--requests", 50, "--does", "poll", "--every", "1s",
                                   "--report", tmp_path / "r.html", "-q"))
    assert done.returncode == 0, done
    shot = STATE / f"easload-report-{scheme}.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else ["--blink-settings=preferredColorScheme=1"]
    shown = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-javascript", "--enable-logging=stderr", *dark,
                            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1600", f"--screenshot={shot}",
                            f"file://{tmp_path / 'r.html'}"], capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0 and shot.stat().st_size > 20_000, shown
    assert "CONSOLE" not in shown.stderr, shown.stderr
    assert (corner(shot) < 100) == (scheme == "dark"), corner(shot)


def corner(path):
    """The brightness of a PNG's first pixel: filter byte, then red, green, blue."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    first = zlib.decompressobj().decompress(packed, 4)
    return sum(first[1:4]) // 3
