"""The commands of docs/interop.md, run as they stand there, with the variables that the page has its reader set."""
import os
import re

import interop
import pytest
from interop import run

TEXT = (interop.ROOT / "docs" / "interop.md").read_text()
BLOCKS = [(m[1], m[2], TEXT.count("\n", 0, m.start()) + 2)
          for m in re.finditer(r"^```(sh|python|js)\n(.*?)^```$", TEXT, re.M | re.S)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One folder for all of them: Chromium's block uses the store that the block before has made."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("kind, code", [block[:2] for block in BLOCKS], ids=[f"line-{line}" for _, _, line in BLOCKS])
def test_block(kind, code, visit, bridge, ca, home):
    code = code.replace("127.0.0.1:1080", bridge)
    if kind == "js":  # packages are found beside the script
        script = interop.STATE / "node" / "docs.mjs"
        script.write_text(code)
        argv = ["node", script]
    else:
        argv = {"sh": ["bash", "-ec", f"cd {home}\n{code}"], "python": ["/usr/bin/python3", "-c", code]}[kind]
    env = {"GATEWAY": f"localhost:{visit.port}", "CA": ca, "TICKET": visit.ticket(), "HOME": str(home)}
    ended = run("docs", argv, env={**os.environ, **env})
    assert ended.status == 0, ended
    if "no-ticket" in code:
        assert "ticket_malformed: " in ended.text and "What to change: " in ended.text
    elif "certutil" not in code:
        visit.told("ok")
        told = {"curl": "200 OK", "wget": "200 OK", "s_client": "Verification: OK", "playwright": "SOGo"}
        shown = next((shown for word, shown in told.items() if word in code), "200")
        assert shown in ended.text or "answer.wbxml" in code, ended


def test_all_blocks_are_there():
    assert len(BLOCKS) >= 15
    assert {kind for kind, _, _ in BLOCKS} == {"sh", "python", "js"}
