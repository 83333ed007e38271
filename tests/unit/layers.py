#!/usr/bin/python3
"""Fails on an #include that points up: a layer may use itself and those before it only."""
import pathlib
import re
import sys

LAYERS = ["base", "net", "proto", "http", "sta", "gate"]
PROGRAMS = {"stagate": LAYERS, "mailsim": ["base", "net", "proto", "http"], "easload": ["base", "net", "proto", "http"]}


def allowed(layer):
    return PROGRAMS[layer] if layer in PROGRAMS else LAYERS[: LAYERS.index(layer) + 1]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    bad = 0
    files = [p for top in ("src", "include") for p in (root / top).rglob("*.[ch]")]
    for path in sorted(files):
        layer = path.relative_to(root).parts[1]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([a-z]+)/', line)
            if m and m[1] in LAYERS and m[1] not in allowed(layer):
                print(f"{path.relative_to(root)}:{number}: {layer} must not use {m[1]}")
                bad += 1
    print(f"layers: {len(files)} files, {bad} arrows that point up")
    return 1 if bad else 0


sys.exit(main())
