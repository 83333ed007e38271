"""The documents that are made from tables in the code hold what the program prints, and the manual pages every option."""
import pathlib
import re
import subprocess

import pytest

import lab

ROOT = pathlib.Path(__file__).resolve().parents[2]


def printed(*args):
    return subprocess.run([str(lab.BIN / args[0]), *args[1:]], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("page, command", [("docs/reasons.md", ("stagate", "reasons", "--markdown")),
                                           ("docs/configuration.md", ("stagate", "check", "--keys"))])
def test_generated(page, command):
    assert printed(*command).strip() in (ROOT / page).read_text(), f"{page} is old: paste what `{' '.join(command)}` prints"


@pytest.mark.parametrize("page, commands", [
    ("stagate.1", [("stagate", "--help"), ("stagate", "run", "--help"), ("stagate", "check", "--help"),
                   ("stagate", "ticket", "--help"), ("stagate", "reasons", "--help")]),
    ("mailsim.1", [("mailsim", "--help")])])
def test_every_option_has_its_place(page, commands):
    text = (ROOT / "docs" / "man" / page).read_text()
    for command in commands:
        for option in set(re.findall(r"--[a-z][a-z-]+", printed(*command))):
            assert option.replace("-", r"\-") in text or option[2:] in text, f"{page} does not tell about {option}"
