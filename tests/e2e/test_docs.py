"""The documents that are made from tables in the code hold what the program prints, and the manual pages every option."""
import pathlib
import re
import subprocess

import pytest

import lab

ROOT = pathlib.Path(__file__).resolve().parents[2]


def printed(*args):
    return subprocess.run([str(lab.BIN / args[0]), *args[1:]], check=True, capture_output=True, text=True).stdout


def test_reasons():
    page = (ROOT / "docs" / "reasons.md").read_text()
    assert printed("stagate", "reasons", "--markdown").strip() in page, "paste what `stagate reasons --markdown` prints"


def test_every_key_has_its_place():
    page = (ROOT / "docs" / "configuration.md").read_text()
    for key, default in re.findall(r"^\| `([a-z-]+)` \| .* \| (.*) \| .* \|$", printed("stagate", "check", "--keys"), re.M):
        rows = [line for line in page.splitlines() if f"`{key}`" in line]
        assert rows, f"docs/configuration.md does not tell about {key}"
        if default.startswith("`"):
            values = default.strip("`").split(",")
            assert any(all(v in row for v in values) for row in rows) or default == "`0`", f"{key}: default {default} is not told"


@pytest.mark.parametrize("page, commands", [
    ("stagate.1", [("stagate", "--help"), ("stagate", "run", "--help"), ("stagate", "check", "--help"),
                   ("stagate", "ticket", "--help"), ("stagate", "authority", "--help"), ("stagate", "fault", "--help"),
                   ("stagate", "trace", "--help"),
                   ("stagate", "reasons", "--help")]),
    ("mailsim.1", [("mailsim", "--help")])])
def test_every_option_has_its_place(page, commands):
    text = (ROOT / "docs" / "man" / page).read_text()
    for command in commands:
        for option in set(re.findall(r"--[a-z][a-z-]+", printed(*command))):
            assert option.replace("-", r"\-") in text or option[2:] in text, f"{page} does not tell about {option}"
