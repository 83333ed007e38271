"""ActiveSync for the interop tests: WBXML bodies as phones send them, written out by hand, and just enough reading of answers.

Bodies are those of a phone with protocol 14.1 (MS-ASWBXML): 03 01 6a 00, then tags; 00 nn changes the code page.
"""
import re

URL = "https://mail.example.com/Microsoft-Server-ActiveSync"
WBXML = "application/vnd.ms-sync.wbxml"
HEAD = b"\x03\x01\x6a\x00"
END = b"\x01"

FOLDER_SYNC = bytes.fromhex("03016a0000075652033000" "0101")  # recorded: FolderSync, SyncKey 0


def text(tag, value):
    """An element that holds a string."""
    return bytes([tag | 0x40, 0x03]) + value.encode() + b"\x00" + END


def sync(key, folder):
    """Sync of one folder: with key 0 only to get a key, else with changes, bodies as plain text."""
    changes = b""
    if key != "0":
        options = text(0x18, "0") + b"\x00\x11\x45" + text(0x06, "1") + text(0x07, "2000") + END + b"\x00\x00"
        changes = b"\x13" + text(0x15, "25") + b"\x57" + options + END
    return HEAD + b"\x45\x5c\x4f" + text(0x0b, key) + text(0x12, folder) + changes + END * 3


def ping(heartbeat, folder):
    """Ping: wake me when something comes into the folder, at the latest after heartbeat seconds."""
    return (HEAD + b"\x00\x0d\x45" + text(0x08, str(heartbeat)) +
            b"\x49\x4a" + text(0x0b, folder) + text(0x0c, "Email") + END * 3)


def query(command, device, user="alice"):
    return f"{URL}?Cmd={command}&User={user}&DeviceId={device}&DeviceType=Interop"


def inbox(answer):
    """The INBOX's ServerId out of a FolderSync answer."""
    assert answer.startswith(HEAD + b"\x00\x07\x56\x4c\x031\x00\x01"), answer[:40]
    return re.search(rb"\x48\x03([^\x00]+)\x00\x01\x49\x030\x00\x01\x47\x03INBOX\x00", answer)[1].decode()


def sync_key(answer):
    """The new SyncKey out of a Sync answer."""
    assert answer.startswith(HEAD + b"\x45\x5c\x4f"), answer[:40]
    return re.search(rb"\x4b\x03([^\x00]+)\x00\x01", answer)[1].decode()


def ping_status(answer):
    return re.fullmatch(rb"\x03\x01\x6a\x00(?:\x00\x0d)*\x45\x47\x03(\d+)\x00\x01.*", answer, re.S)[1].decode()
