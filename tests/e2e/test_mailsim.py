"""mailsim: every command in every version and personality, over plain HTTP."""
import http.client
import json
import re
import socket
import subprocess
import threading

import pytest

import activesync
import lab
import wire
from activesync import Phone
from mailsims import Mailsim

PERSONALITIES = {
    "exchange-2007sp1": ["2.5", "12.0", "12.1"],
    "exchange-2010": ["2.5", "12.0", "12.1", "14.0"],
    "exchange-2010sp1": ["2.5", "12.0", "12.1", "14.0", "14.1"],
    "exchange-2013": ["2.5", "12.0", "12.1", "14.0", "14.1"],
    "exchange-2016": ["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"],
    "exchange-2019": ["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"],
    "traveler-9.0.1": ["2.5", "12.0", "12.1", "14.0", "14.1"],
    "traveler-14.5": ["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"],
}
INBOX, DRAFTS, BIN, SENT, TASKS, CALENDAR, CONTACTS, NOTES = "1", "2", "3", "4", "6", "7", "8", "9"
PING = ("Ping:Ping", ("HeartbeatInterval", "60"), ("Folders", ("Folder", ("Id", INBOX), ("Class", "Email"))))


@pytest.fixture
def mailsim():
    running = []

    def start(*options, **kwargs):
        running.append(Mailsim(*options, **kwargs))
        return running[-1]
    yield start
    for m in running:
        m.stop()


@pytest.fixture(scope="module")
def shared():
    m = Mailsim("--mailbox", "120", "--newest", "2026-01-31T12:00:00Z")
    yield m
    m.stop()


@pytest.fixture
def user(request):
    """A name of its own for each test of the shared server."""
    return re.sub(r"\W", "_", request.node.name).lower()


@pytest.fixture(params=activesync.VERSIONS)
def phone(request, shared, user):
    return shared.phone(user=user, version=request.param)


# ---- a whole session, as each server has it ----------------------------------------------------------------------

MAIL = ("From: alice@example.com\r\nTo: bob@example.com\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nHallo Bob, schöne Grüße\r\n").encode()


def send(phone, mime=MAIL, save=True, command="SendMail", source=None, parameters=""):
    if float(phone.version) < 14:
        parameters += "&SaveInSent=T" if save else ""
        return phone.post(command, body=mime, parameters=parameters, fields={"Content-Type": "message/rfc822"})
    return phone.post(command, (f"ComposeMail:{command}", ("ClientId", "c1"), *([("SaveInSentItems",)] if save else []),
                                *([("Source", ("FolderId", source.split(":")[0]), ("ItemId", source))] if source else []),
                                ("Mime", mime)))


SESSIONS = [(name, version) for name, versions in PERSONALITIES.items() for version in versions]


@pytest.fixture(scope="module")
def servers():
    running = {}

    def get(name):
        if name not in running:
            running[name] = Mailsim("--personality", name, "--policy", "required", "--mailbox", "30")
        return running[name]
    yield get
    for m in running.values():
        m.stop()


@pytest.mark.parametrize("name, version", SESSIONS)
def test_session(servers, name, version):
    """What a phone does on its first day: options, policy, folders, mail, a new mail by Ping, an answer."""
    server, user = servers(name), f"u{version.replace('.', '_')}"
    phone = server.phone(user=user, version=version)
    if name.startswith("traveler"):
        phone.path = "/traveler/Microsoft-Server-ActiveSync"
    options = phone.options()
    assert options.fields["MS-ASProtocolVersions"].split(",") == PERSONALITIES[name]
    assert {"Sync", "Ping", "FolderSync", "Provision"} <= set(options.fields["MS-ASProtocolCommands"].split(","))

    refused = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
    if float(version) >= 14:
        assert (refused.status, refused["Status"]) == (200, "142")
    else:
        assert (refused.status, refused.body) == (449, b"")
    first, second = phone.provision()
    assert first["Status"] == second["Status"] == "1" and second["Policies/Policy/Status"] == "1"
    assert first.doc.find("Policies/Policy/Data") and not second.doc.find("Policies/Policy/Data")

    folders = phone.folders()
    assert folders["Inbox"]["Type"] == "2" and folders["Inbox"]["ServerId"] == INBOX
    assert ("Notes" in folders) == (float(version) >= 14)
    items = phone.everything(INBOX)
    assert len(items) == 30
    assert all(i["Subject"] and i["From"] and i["DateReceived"] for i in items.values())

    ping = phone.later("Ping", PING)
    wire.poll(lambda: server.status()["waiting"], "the Ping")
    server.deliver(user, subject="Neuigkeiten")
    answer = ping.get()
    assert (answer["Status"], answer["Folders/Folder"]) == ("2", INBOX)
    news = phone.sync(INBOX, ("GetChanges",), phone.bodies())
    [mail] = news.all("Commands/Add")
    assert mail["ApplicationData/Subject"] == "Neuigkeiten"

    sent = send(phone, MAIL.replace(b"bob@", user.encode() + b"@"))
    assert (sent.status, sent.body) == (200, b""), sent
    [mail] = phone.sync(INBOX, ("GetChanges",), phone.bodies()).all("Commands/Add")
    assert mail["ApplicationData/Subject"] == "Grüße"
    body = mail["ApplicationData/Body/Data"] if version != "2.5" else mail["ApplicationData/Body"]
    assert "schöne Grüße" in body
    assert len(phone.everything(SENT)) == 1


@pytest.mark.parametrize("name", PERSONALITIES)
def test_versions_that_a_server_does_not_have(servers, name):
    for version in ("1.0", "12.2", "14.2", "17.0", "16.1", "2.1"):
        if version in PERSONALITIES[name]:
            continue
        answer = servers(name).phone(version=version).post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
        if float(version) >= 14:
            assert (answer.status, answer["Status"]) == (200, "138")
        else:
            assert (answer.status, answer.body) == (400, b"")


# ---- HTTP --------------------------------------------------------------------------------------------------------

def test_who_is_there(shared):
    phone = shared.phone(user=None)
    for answer in (phone.options(), phone.post("Sync", body=b"")):
        assert answer.status == 401 and answer.fields["WWW-Authenticate"].startswith("Basic realm=")


def test_users_of_a_file(mailsim, tmp_path):
    users = tmp_path / "users"
    hashed = subprocess.run(["openssl", "passwd", "-6", "right"], capture_output=True, text=True, check=True).stdout
    users.write_text(f"alice:{hashed}")
    server = mailsim("--users", users)
    for _ in range(3):
        assert server.phone(password="right").options().status == 200
        assert server.phone(password="wrong").options().status == 401
        assert server.phone(user="bob", password="right").options().status == 401
    assert server.phone(user="CORP\\alice", password="right").options().status == 200


def test_other_paths_and_methods(shared):
    phone = shared.phone()
    assert phone.request("GET", "/").status == 404
    phone.conn.close()
    get = phone.request("GET", activesync.EAS, fields=phone.fields())
    assert get.status == 501 and get.headers["Allow"] == "OPTIONS,POST"
    phone.conn.close()
    assert shared.phone(path="/traveler/Microsoft-Server-ActiveSync").options().status == 404
    assert shared.phone(path="/microsoft-server-activesync/").options().status == 200


@pytest.mark.parametrize("version", activesync.VERSIONS)
def test_commands_that_are_none(shared, version):
    answer = shared.phone(version=version).post("MoveEverything", body=b"")
    assert answer.status == 501


def test_a_query_in_base64(shared):
    import base64
    query = bytes([141, 9]) + b"\x09\x04" + b"\x06Phone7" + b"\x00" + b"\x04Test"
    phone = shared.phone(user="base64")
    fields = {"Authorization": phone.login, "Content-Type": "application/vnd.ms-sync.wbxml"}
    response = phone.request("POST", activesync.EAS + "?" + base64.b64encode(query).decode(),
                             activesync.encode(("FolderHierarchy:FolderSync", ("SyncKey", "0"))), fields)
    answer = activesync.Answer(response, "14.1")
    assert answer["Status"] == "1" and answer.fields["MS-ASProtocolVersions"]


@pytest.mark.parametrize("version", activesync.VERSIONS)
def test_bodies_that_are_none(shared, version):
    phone = shared.phone(user="malformed", version=version)
    for body in (b"", b"\x03\x01", b"<xml/>", b"\x03\x01\x6a\x00\x45\x5c", b"\x03\x01\x6a\x00" + b"\x45" * 70,
                 bytes.fromhex("03016a0045028880808000 01".replace(" ", ""))):
        answer = phone.post("FolderSync", body=body)
        if float(version) >= 14:
            assert (answer.status, answer["Status"]) == (200, "102")
        else:
            assert (answer.status, answer.body) == (400, b"")
    other = phone.post("FolderSync", ("Ping:Ping",))
    assert (other.status, other.body) == (400, b"") if float(version) < 14 else other["Status"] == "103"


def test_autodiscover(shared):
    phone = shared.phone()
    ask = ('<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006">'
           '<Request><EMailAddress>alice@example.com</EMailAddress><AcceptableResponseSchema>'
           'http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006</AcceptableResponseSchema>'
           '</Request></Autodiscover>')

    def post(text, path="/Autodiscover/Autodiscover.xml", login=True):
        fields = {"Content-Type": "text/xml"}
        if login:
            fields["Authorization"] = phone.login
        response = phone.request("POST", path, text.encode(), fields)
        return response.status, response.read().decode()
    status, text = post(ask)
    url = f"http://{shared.address}/Microsoft-Server-ActiveSync"
    assert status == 200 and f"<Url>{url}</Url><Name>{url}</Name>" in text and "<EMailAddress>alice@example.com" in text
    assert post(ask, "/autodiscover/autodiscover.XML")[0] == 200
    assert "<ErrorCode>601</ErrorCode>" in post(ask.replace("mobilesync/response", "outlook/response"))[1]
    for bad in ("", "<a>", ask.replace("<Request>", "<Request/><Request>"), '<!DOCTYPE a [<!ENTITY b "c">]>' + ask[21:]):
        assert "<ErrorCode>600</ErrorCode>" in post(bad)[1]
    assert post(ask, login=False)[0] == 401


# ---- policies ----------------------------------------------------------------------------------------------------

def test_a_policy_that_is_offered(phone):
    assert phone.folders()  # not demanded
    first, second = phone.provision()
    assert second["Policies/Policy/PolicyKey"] != first["Policies/Policy/PolicyKey"]
    assert phone.folders()


def test_no_policy(mailsim):
    phone = mailsim("--policy", "none").phone()
    answer = phone.post("Provision", ("Provision:Provision", ("Policies", ("Policy", ("PolicyType", "MS-EAS-Provisioning-WBXML")))))
    assert (answer["Status"], answer["Policies/Policy/Status"], answer["Policies/Policy/PolicyKey"]) == ("1", "2", None)
    assert phone.folders()


def test_keys_of_policies(mailsim):
    server = mailsim("--policy", "required")
    phone = server.phone()
    phone.provision()
    assert phone.folders()
    good, phone.policy = phone.policy, "12345"
    sync = ("FolderHierarchy:FolderSync", ("SyncKey", "0"))
    assert phone.post("FolderSync", sync)["Status"] == "144"
    phone.policy = None
    assert phone.post("FolderSync", sync)["Status"] == "144"
    assert phone.post("Ping", ("Ping:Ping",))["Status"] == "3"  # which goes without one
    phone.policy = good
    wrong = phone.post("Provision", ("Provision:Provision", ("Policies", (
        "Policy", ("PolicyType", "MS-EAS-Provisioning-WBXML"), ("PolicyKey", "1"), ("Status", "1")))))
    assert wrong["Policies/Policy/Status"] == "5"
    unknown = phone.post("Provision", ("Provision:Provision", ("Policies", ("Policy", ("PolicyType", "what")))))
    assert unknown["Policies/Policy/Status"] == "3"
    assert server.ctl("device", "new-policy", "--user=alice", "--device=Phone1").returncode == 0
    assert phone.post("FolderSync", sync)["Status"] == "142"
    phone.provision()
    assert phone.folders()


@pytest.mark.parametrize("version", ["12.1", "14.1", "16.1"])
@pytest.mark.parametrize("action, tag", [("wipe", "RemoteWipe"), ("wipe-account", "AccountOnlyRemoteWipe")])
def test_wipe(mailsim, version, action, tag):
    server = mailsim()
    phone = server.phone(version=version)
    phone.folders()
    done = server.ctl("device", action, "--user", "alice", "--device", "Phone1")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["wipe"] == "pending"
    refused = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
    assert refused.status == 449 if version == "12.1" else refused["Status"] == "140"
    tag = tag if version == "16.1" else "RemoteWipe"
    told = phone.post("Provision", ("Provision:Provision", ("Policies", ("Policy", ("PolicyType", "MS-EAS-Provisioning-WBXML")))))
    assert told.doc.find(tag) and not told.doc.find("Policies")
    phone.post("Provision", ("Provision:Provision", (tag, ("Status", "1"))))
    assert json.loads(server.ctl("device", "list").stdout)[0]["wipe"] == "done"
    assert phone.folders()


def test_a_blocked_device(mailsim):
    server = mailsim()
    for version in ("12.1", "14.1"):
        phone = server.phone(version=version, device=f"Phone{version[:2]}")
        phone.folders()
        assert server.ctl("device", "block", "-u", "alice", "-d", phone.device).returncode == 0
        answer = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
        assert answer.status == 403 if version == "12.1" else answer["Status"] == "129"
        assert server.ctl("device", "allow", "-u", "alice", "-d", phone.device).returncode == 0
        assert phone.folders()


# ---- folders -----------------------------------------------------------------------------------------------------

def hierarchy(phone, command, *children, key=None):
    return phone.post(command, (f"FolderHierarchy:{command}", ("SyncKey", key or phone.hierarchy), *children))


def test_folders_come_and_go(phone):
    other = phone.copy()
    other.device = "Phone2"
    phone.folders()
    other.folders()
    made = hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", "Projekte"), ("Type", "12"))
    assert made["Status"] == "1"
    phone.hierarchy, folder = made["SyncKey"], made["ServerId"]
    assert other.folders(other.hierarchy)["Projekte"]["ServerId"] == folder
    assert phone.folders(phone.hierarchy) == {}
    again = hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", "PROJEKTE"), ("Type", "12"))
    assert again["Status"] == "2"
    assert hierarchy(phone, "FolderCreate", ("ParentId", "99"), ("DisplayName", "x"), ("Type", "12"))["Status"] == "5"
    assert hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", ""), ("Type", "12"))["Status"] == "10"
    assert hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", "x"), ("Type", "2"))["Status"] == "10"
    assert hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", "x"), ("Type", "12"), key="77")["Status"] == "9"

    below = hierarchy(phone, "FolderCreate", ("ParentId", folder), ("DisplayName", "Alt"), ("Type", "12"))
    phone.hierarchy = below["SyncKey"]
    loop = hierarchy(phone, "FolderUpdate", ("ServerId", folder), ("ParentId", below["ServerId"]), ("DisplayName", "x"))
    assert loop["Status"] == "5"
    renamed = hierarchy(phone, "FolderUpdate", ("ServerId", folder), ("ParentId", "0"), ("DisplayName", "Neu"))
    assert renamed["Status"] == "1"
    phone.hierarchy = renamed["SyncKey"]
    told = phone.copy()
    told.device = "Phone2"
    answer = told.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", other.hierarchy)))
    assert [n["DisplayName"] for n in answer.doc.all("Changes/Update")] == ["Neu"]
    assert [n["DisplayName"] for n in answer.doc.all("Changes/Add")] == ["Alt"]
    assert hierarchy(phone, "FolderUpdate", ("ServerId", INBOX), ("ParentId", "0"), ("DisplayName", "x"))["Status"] == "2"
    assert hierarchy(phone, "FolderDelete", ("ServerId", INBOX))["Status"] == "3"
    assert hierarchy(phone, "FolderDelete", ("ServerId", "88"))["Status"] == "4"
    gone = hierarchy(phone, "FolderDelete", ("ServerId", folder))
    assert gone["Status"] == "1"
    answer = told.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", answer["SyncKey"])))
    assert sorted(n["ServerId"] for n in answer.doc.all("Changes/Delete")) == sorted([folder, below["ServerId"]])
    assert phone.sync(folder, key="0")["Status"] == "12"


def test_keys_of_the_hierarchy(phone):
    names = phone.folders()
    for key in ("7", "1x", "", "-1"):
        answer = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", key)))
        assert answer["Status"] == ("9" if key == "7" else "10"), key
    made = hierarchy(phone, "FolderCreate", ("ParentId", "0"), ("DisplayName", "A"), ("Type", "12"))
    other = phone.copy()
    other.device = "Phone2"
    assert len(other.folders()) == len(names) + 1
    made = hierarchy(other, "FolderCreate", ("ParentId", "0"), ("DisplayName", "B"), ("Type", "12"), key=other.hierarchy)
    # Phone1's key is not good for a change any more: it would miss B
    lost = phone.folders("2")
    assert list(lost) == ["B"]
    assert phone.hierarchy == "3"
    assert list(phone.folders("2")) == ["B"]  # the answer that was lost is given again
    assert made["Status"] == "1"


# ---- Sync --------------------------------------------------------------------------------------------------------

def test_windows(phone):
    phone.start(INBOX)
    seen, sizes = [], []
    while True:
        node = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "50"), phone.bodies())
        seen += [n["ServerId"] for n in node.all("Commands/Add")]
        sizes.append(len(node.all("Commands/Add")))
        if node.find("MoreAvailable") is None:
            break
    assert sizes == [50, 50, 20] and len(set(seen)) == 120
    node = phone.sync(INBOX, ("GetChanges",), phone.bodies())
    if float(phone.version) >= 12.1:
        assert node is None
    else:
        assert node["Status"] == "1" and not node.all("Commands")


def test_newest_first_and_the_same_for_the_same_seed(shared, mailsim):
    first = shared.phone(user="samesame").everything(INBOX)
    dates = [i["DateReceived"] for i in first.values()]
    assert dates == sorted(dates, reverse=True) and len(set(dates)) == 120
    second = mailsim("--mailbox", "120", "--newest", "2026-01-31T12:00:00Z").phone(user="samesame").everything(INBOX)
    assert [repr(i) for i in first.values()] == [repr(i) for i in second.values()]
    other = mailsim("--mailbox", "120", "--newest", "2026-01-31T12:00:00Z", "--seed", "2").phone(user="samesame").everything(INBOX)
    assert [repr(i) for i in first.values()] != [repr(i) for i in other.values()]


def test_an_answer_that_was_lost_comes_again(phone):
    phone.start(INBOX)
    key = phone.keys[INBOX]
    first = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "10"), phone.bodies(), key=key)
    again = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "10"), phone.bodies(), key=key)
    assert repr(first) == repr(again)
    third = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "10"), phone.bodies())
    assert {n["ServerId"] for n in third.all("Commands/Add")}.isdisjoint(n["ServerId"] for n in first.all("Commands/Add"))
    for old in (key, "77", "x", "-1"):
        node = phone.sync(INBOX, ("GetChanges",), key=old)
        assert (node["Status"], node["SyncKey"]) == ("3", "0")


def test_what_changes_while_a_first_sync_goes_on(phone, shared, user):
    """Each item comes once, with what is true of it then; what came later is told later."""
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    old = other.everything(INBOX)
    late, early = "1:100", "1:3"
    phone.start(INBOX)
    seen = [n["ServerId"] for n in phone.sync(INBOX, ("GetChanges",), ("WindowSize", "50"), phone.bodies()).all("Commands/Add")]
    assert early in seen and late not in seen
    for item in (late, early):
        other.sync(INBOX, ("GetChanges",), change(item, ("Email:Read", "0" if old[item]["Read"] == "1" else "1")))
    other.sync(INBOX, ("DeletesAsMoves", "0"), ("GetChanges",), ("Commands", ("Delete", ("ServerId", "1:110"))))
    shared.deliver(user, subject="later")
    changed = {}
    while True:
        node = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "50"), phone.bodies())
        adds = {n["ServerId"]: n.find("ApplicationData") for n in node.all("Commands/Add")}
        assert not set(adds) & set(seen)
        seen += adds
        changed |= {n["ServerId"]: n["ApplicationData/Read"] for n in node.all("Commands/Change")}
        if late in adds:
            assert adds[late]["Read"] != old[late]["Read"]
        if node.find("MoreAvailable") is None:
            break
    assert changed[early] != old[early]["Read"]
    assert set(seen) == set(old) - {"1:110"} | {"1:121"}


def test_folders_that_are_none(phone):
    for folder in ("99", "x", ""):
        assert phone.sync(folder, key="0")["Status"] == "8"


def change(server_id, *elements):
    return ("Commands", ("Change", ("ServerId", server_id), ("ApplicationData", *elements)))


def test_read_and_unread(phone):
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    items = phone.everything(INBOX)
    other.everything(INBOX)
    mail = next(k for k, v in items.items() if v["Read"] == "0")
    node = phone.sync(INBOX, ("GetChanges",), change(mail, ("Email:Read", "1")))
    assert node["Status"] == "1" and not node.all("Commands") and not node.all("Responses")
    [told] = other.sync(INBOX, ("GetChanges",)).all("Commands/Change")
    assert (told["ServerId"], told["ApplicationData/Read"]) == (mail, "1")
    assert other.sync(INBOX, ("GetChanges",), change("1:9999", ("Email:Read", "1"))).all("Responses/Change")[0]["Status"] == "8"


@pytest.mark.parametrize("version", ["12.0", "12.1", "14.0", "14.1", "16.0", "16.1"])
def test_flags(shared, user, version):
    phone = shared.phone(user=user, version=version)
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    mail = next(iter(phone.everything(INBOX)))
    other.everything(INBOX)
    phone.sync(INBOX, ("GetChanges",), change(mail, ("Email:Flag", ("Status", "2"), ("FlagType", "Follow up"))))
    [told] = other.sync(INBOX, ("GetChanges",)).all("Commands/Change")
    assert told["ApplicationData/Flag/FlagType"] == "Follow up"
    phone.sync(INBOX, ("GetChanges",), change(mail, ("Email:Flag",)))
    [told] = other.sync(INBOX, ("GetChanges",)).all("Commands/Change")
    assert told.find("ApplicationData/Flag") and not told.all("ApplicationData/Flag/FlagType")


def test_deleting(phone):
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    items = list(phone.everything(INBOX))
    other.everything(INBOX)
    phone.everything(BIN)
    phone.sync(INBOX, ("GetChanges",), ("Commands", ("Delete", ("ServerId", items[0]))))
    phone.sync(INBOX, ("DeletesAsMoves", "0"), ("GetChanges",), ("Commands", ("Delete", ("ServerId", items[1]))))
    told = other.sync(INBOX, ("GetChanges",))
    assert [n["ServerId"] for n in told.all("Commands/Delete")] == items[:2]
    [binned] = phone.sync(BIN, ("GetChanges",), phone.bodies()).all("Commands/Add")
    phone.sync(BIN, ("GetChanges",), ("Commands", ("Delete", ("ServerId", binned["ServerId"]))))
    assert phone.everything(BIN) == {}
    gone = phone.sync(INBOX, ("GetChanges",), ("Commands", ("Delete", ("ServerId", items[0]))))
    assert gone.all("Responses/Delete")[0]["Status"] == "8"


def test_fetch(phone):
    items = phone.everything(INBOX, ("Options", ("Truncation", "0")) if phone.version == "2.5" else phone.bodies(size="0"))
    mail = next(iter(items))
    node = phone.sync(INBOX, ("GetChanges",), ("Commands", ("Fetch", ("ServerId", mail)), ("Fetch", ("ServerId", "1:7777"))))
    good, bad = node.all("Responses/Fetch")
    assert (good["Status"], bad["Status"]) == ("1", "8")
    if phone.version == "2.5":
        return  # which truncates as it is told
    assert not items[mail]["Body/Data"] and items[mail]["Body/Truncated"] == "1" and good["ApplicationData/Body/Data"]


CONTACT = (("Contacts:FirstName", "Zoë"), ("Contacts:LastName", "Ångström"), ("Contacts:Email1Address", "zoe@example.com"))


def add(client_id, *elements):
    return ("Commands", ("Add", ("ClientId", client_id), ("ApplicationData", *elements)))


def test_contacts(phone):
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    before = phone.everything(CONTACTS, cls="Contacts")
    assert len(before) == 12 and all(i["FileAs"] for i in before.values())
    other.everything(CONTACTS, cls="Contacts")
    key = phone.keys[CONTACTS]
    answers = [phone.sync(CONTACTS, ("GetChanges",), add("new1", *CONTACT), key=key, cls="Contacts") for _ in range(2)]
    added = [a.all("Responses/Add")[0] for a in answers]
    assert [a["Status"] for a in added] == ["1", "1"] and added[0]["ServerId"] == added[1]["ServerId"]
    [told] = other.sync(CONTACTS, ("GetChanges",), cls="Contacts").all("Commands/Add")
    assert told["ApplicationData/LastName"] == "Ångström" and told["ServerId"] == added[0]["ServerId"]
    phone.sync(CONTACTS, ("GetChanges",), change(told["ServerId"], ("Contacts:JobTitle", "Chefin")), cls="Contacts")
    [told] = other.sync(CONTACTS, ("GetChanges",), cls="Contacts").all("Commands/Change")
    data = told.find("ApplicationData")
    assert (data["FirstName"], data["JobTitle"]) == ("Zoë", "Chefin")
    assert len(phone.everything(CONTACTS, cls="Contacts")) == 13


def test_bodies_of_appointments(phone):
    """2.5 has a Body of the calendar's own, later versions one for all; a location is an element of its own from 16.0 on."""
    old = phone.version == "2.5"
    new = float(phone.version) >= 16
    body = ("Calendar:Body", "Wegen der Pläne") if old else ("AirSyncBase:Body", ("Type", "1"), ("Data", "Wegen der Pläne"))
    place = (("AirSyncBase:Location", ("DisplayName", "Café")) if new else ("Calendar:Location", "Café"))
    uid = () if new else (("Calendar:UID", "uid-1"),)
    phone.everything(CALENDAR, cls="Calendar")
    node = phone.sync(CALENDAR, ("GetChanges",), add(
        "a1", ("Calendar:Subject", "Planung"), ("Calendar:StartTime", "20260201T090000Z"), ("Calendar:EndTime", "20260201T100000Z"),
        *uid, place, body), cls="Calendar")
    item = node.all("Responses/Add")[0]["ServerId"]
    for version in activesync.VERSIONS:
        other = phone.copy()
        other.version, other.device, other.keys = version, f"Other{version.replace('.', '')}", {}
        data = other.everything(CALENDAR, cls="Calendar")[item]
        assert data["Subject"] == "Planung" and data["UID"]
        assert (data["Body"] if version == "2.5" else data["Body/Data"]) == "Wegen der Pläne"
        assert (data["Location/DisplayName"] if float(version) >= 16 else data["Location"]) == "Café"


@pytest.mark.parametrize("resolution, status, left", [("1", "7", "server"), ("0", None, "client")])
def test_conflicts(phone, resolution, status, left):
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    item = next(iter(phone.everything(TASKS, cls="Tasks")))
    other.everything(TASKS, cls="Tasks")
    other.sync(TASKS, ("GetChanges",), change(item, ("Tasks:Subject", "server")), cls="Tasks")
    options = ("Options", ("Conflict", resolution))
    node = phone.sync(TASKS, ("GetChanges",), options, change(item, ("Tasks:Subject", "client")), cls="Tasks")
    got = node.all("Responses/Change")
    assert [g["Status"] for g in got] == ([status] if status else [])
    if status:
        assert node.all("Commands/Change")[0]["ApplicationData/Subject"] == "server"
    assert phone.everything(TASKS, cls="Tasks")[item]["Subject"] == left


def test_mail_is_not_added(phone):
    phone.start(INBOX)
    node = phone.sync(INBOX, add("m1", ("Email:Subject", "x")))
    assert node.all("Responses/Add")[0]["Status"] == "6"


@pytest.mark.parametrize("version", ["16.0", "16.1"])
def test_drafts(shared, user, version):
    """From 16.0 on mail is written on one device, changed on another, and sent by being changed a last time."""
    phone, reader = shared.phone(user=user, version=version), shared.phone(user=f"reader.{user}", version=version)
    other = phone.copy()
    other.device, other.keys = "Phone2", {}
    phone.start(DRAFTS)
    other.start(DRAFTS)

    def body(text):
        return ("AirSyncBase:Body", ("Type", "1"), ("Data", text))
    node = phone.sync(DRAFTS, ("GetChanges",), add("d1", ("Email:To", f"reader.{user}@example.com"), ("Email:Subject", "Entwurf"), body("eins")))
    draft = node["Responses/Add/ServerId"]
    [told] = other.sync(DRAFTS, ("GetChanges",), other.bodies()).all("Commands/Add")
    data = told.find("ApplicationData")
    assert (told["ServerId"], data["Subject"], data["IsDraft"], data["Body/Data"]) == (draft, "Entwurf", "1", "eins")
    other.sync(DRAFTS, ("GetChanges",), other.bodies(), change(draft, body("zwei")))
    [told] = phone.sync(DRAFTS, ("GetChanges",), phone.bodies()).all("Commands/Change")
    assert told["ApplicationData/Body/Data"] == "zwei" and told["ApplicationData/Subject"] == "Entwurf"
    phone.sync(DRAFTS, ("GetChanges",), phone.bodies(), ("Commands", ("Change", ("ServerId", draft), ("Email2:Send",), (
        "ApplicationData", ("Email:Subject", "Fertig")))))
    assert phone.everything(DRAFTS) == {}
    assert "Fertig" in [m["Subject"] for m in reader.everything(INBOX).values()]
    assert [m["Subject"] for m in phone.everything(SENT).values()] == ["Fertig"]
    at_once = phone.sync(DRAFTS, ("GetChanges",), ("Commands", ("Add", ("ClientId", "d2"), ("Email2:Send",), (
        "ApplicationData", ("Email:To", "reader@example.com"), ("Email:Subject", "Sofort"), body("x")))))
    assert at_once["Responses/Add/Status"] == "1"
    nobody = phone.sync(DRAFTS, ("GetChanges",), ("Commands", ("Add", ("ClientId", "d3"), ("Email2:Send",), (
        "ApplicationData", ("Email:Subject", "An niemanden"), body("x")))))
    assert nobody["Responses/Add/Status"] == "6"


@pytest.mark.parametrize("version", ["12.1", "14.1", "16.1"])
def test_filters(mailsim, version):
    """Days back, and what comes and goes when a client changes its mind."""
    phone = mailsim("--mailbox", "120").phone(version=version)

    def options(filter):
        return ("Options", ("FilterType", filter), ("AirSyncBase:BodyPreference", ("Type", "1"), ("TruncationSize", "0")))
    assert len(phone.everything(INBOX, options("0"))) == 120
    node = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "512"), options("3"))
    gone = {n["ServerId"] for n in node.all("Commands/SoftDelete")}
    assert 85 <= len(gone) <= 100 and not node.all("Commands/Add")
    estimate = phone.post("GetItemEstimate", ("GetItemEstimate:GetItemEstimate", ("Collections", (
        "Collection", ("AirSync:SyncKey", phone.keys[INBOX]), ("GetItemEstimate:CollectionId", INBOX)))))
    assert estimate["Response/Collection/Estimate"] == "0"
    back = set()
    while True:
        node = phone.sync(INBOX, ("GetChanges",), ("WindowSize", "30"), options("0"))
        back |= {n["ServerId"] for n in node.all("Commands/Add")}
        if node.find("MoreAvailable") is None:
            break
    assert back == gone
    assert len(phone.everything(INBOX, options("1"))) <= 8


@pytest.mark.parametrize("version", ["12.0", "12.1", "14.0", "14.1", "16.0", "16.1"])
def test_types_of_bodies(shared, user, version):
    phone = shared.phone(user=user, version=version)
    plain = phone.everything(INBOX, phone.bodies("1"))
    html = phone.everything(INBOX, phone.bodies("2"))
    mime = phone.everything(INBOX, ("Options", ("FilterType", "0"), ("MIMESupport", "2"), (
        "AirSyncBase:BodyPreference", ("Type", "4"), ("TruncationSize", "100000"))))
    short = phone.everything(INBOX, phone.bodies("1", "10"))
    for item, data in plain.items():
        text = data["Body/Data"]
        assert data["Body/Type"] == "1" and int(data["Body/EstimatedDataSize"]) == len(text.encode()) > 50 and "<p>" not in text
        assert html[item]["Body/Type"] == "2" and html[item]["Body/Data"].startswith("<html>")
        assert mime[item]["Body/Type"] == "4" and "MIME-Version: 1.0\r\n" in mime[item]["Body/Data"]
        assert (len(short[item]["Body/Data"].encode()) <= 10 and text.startswith(short[item]["Body/Data"])
                and short[item]["Body/Truncated"] == "1")
    assert {"1", "2"} == {d["NativeBodyType"] for d in plain.values()}


def test_what_generated_mail_is_like(shared):
    """Languages, threads, attachments, invitations, importance: what a client has to cope with."""
    items = list(shared.phone(user="variety").everything(INBOX).values())
    subjects = {i["Subject"].removeprefix("Re: ") for i in items}
    for script in ("[а-я]", "[\u3040-\u30ff]", "[\u4e00-\u9fff]", "[\u0590-\u05ff]", "[äöüß]", "\U0001f35c"):
        assert any(re.search(script, s) for s in subjects), script
    assert any(i.find("Attachments") for i in items) and any(i["Importance"] == "2" for i in items)
    assert any(i.find("MeetingRequest") and i["MessageClass"] == "IPM.Schedule.Meeting.Request" for i in items)
    threads = {}
    for i in items:
        threads.setdefault(i.find("ConversationId").data, set()).add(i["ThreadTopic"])
    assert len(threads) < len(items) and all(len(topics) == 1 for topics in threads.values())


def test_hanging_sync(shared, user):
    phone = shared.phone(user=user)
    phone.everything(INBOX)
    document = ("Sync", ("HeartbeatInterval", "60"), ("Collections", phone.collection(INBOX, ("GetChanges",), phone.bodies())))
    waits = phone.later("Sync", document)
    wire.poll(lambda: [d for d in json.loads(shared.ctl("device").stdout) if d["user"] == user and d["waiting"]], "the Sync")
    shared.deliver(user, subject="Da bin ich")
    answer = waits.get()
    assert answer["Collections/Collection/Commands/Add/ApplicationData/Subject"] == "Da bin ich"
    phone.keys[INBOX] = answer["Collections/Collection/SyncKey"]
    # an empty one waits as long for the same folders; another one takes its place
    waits = phone.later("Sync")
    wire.poll(lambda: [d for d in json.loads(shared.ctl("device").stdout) if d["user"] == user and d["waiting"]], "the Sync")
    second = phone.later("Sync")
    assert (waits.get().status, waits.get().body) == (200, b"")
    assert second.waits()
    shared.deliver(user, subject="Noch einer")
    assert second.get()["Collections/Collection/Commands/Add/ApplicationData/Subject"] == "Noch einer"


@pytest.mark.parametrize("version, top, status, limit", [
    ("12.1", ("Wait", "0"), "14", "1"), ("12.1", ("Wait", "60"), "14", "59"), ("14.1", ("HeartbeatInterval", "59"), "14", "60"),
    ("14.1", ("HeartbeatInterval", "3541"), "14", "3540"), ("14.1", ("HeartbeatInterval", "x"), "14", "60")])
def test_waits_that_are_out_of_range(shared, user, version, top, status, limit):
    phone = shared.phone(user=user, version=version)
    phone.everything(INBOX)
    answer = phone.post("Sync", phone.sync_document(INBOX, top=(top,)))
    assert (answer["Status"], answer["Limit"]) == (status, limit)


def test_requests_that_sync_cannot_take(shared, user):
    phone = shared.phone(user=user)
    assert phone.post("Sync").doc["Status"] == "13"
    assert phone.post("Sync", ("Sync", ("Partial",)))["Status"] == "13"
    assert phone.post("Sync", ("Sync",))["Status"] == "4"
    both = ("Sync", ("Wait", "5"), ("HeartbeatInterval", "60"), ("Collections", phone.collection(INBOX)))
    assert phone.post("Sync", both)["Status"] == "4"
    many = ("Sync", ("Collections", *[phone.collection(INBOX)] * 201))
    answer = phone.post("Sync", many)
    assert (answer["Status"], answer["Limit"]) == ("15", "200")
    no_key = phone.post("Sync", ("Sync", ("Collections", ("Collection", ("CollectionId", INBOX)))))
    assert no_key["Collections/Collection/Status"] == "4"


# ---- Ping --------------------------------------------------------------------------------------------------------

def test_ping_statuses(phone):
    phone.everything(INBOX)

    def ping(*children):
        return phone.post("Ping", ("Ping:Ping", *children))
    assert phone.post("Ping")["Status"] == "3"
    assert ping(("HeartbeatInterval", "60"))["Status"] == "3"
    folders = ("Folders", ("Folder", ("Id", INBOX), ("Class", "Email")))
    for beat, allowed in (("59", "60"), ("3541", "3540"), ("1", "60")):
        answer = ping(("HeartbeatInterval", beat), folders)
        assert (answer["Status"], answer["HeartbeatInterval"]) == ("5", allowed)
    assert ping(("HeartbeatInterval", "60"), ("Folders", ("Folder", ("Id", "99"), ("Class", "Email"))))["Status"] == "7"
    assert ping(("HeartbeatInterval", "60"), ("Folders", ("Folder", ("Id", INBOX), ("Class", "What"))))["Status"] == "4"
    twice = ("Folders", *[("Folder", ("Id", INBOX), ("Class", "Email"))] * 2)
    assert ping(("HeartbeatInterval", "60"), twice)["Status"] == "4"
    many = ("Folders", *[("Folder", ("Id", str(i)), ("Class", "Email")) for i in range(1, 210)])
    assert ping(("HeartbeatInterval", "60"), many)["Status"] in ("6", "7")


def test_a_new_ping_ends_the_one_before(phone, shared, user):
    phone.everything(INBOX)
    first = phone.later("Ping", PING)
    wire.poll(lambda: [d for d in json.loads(shared.ctl("device").stdout) if d["user"] == user and d["waiting"]], "the Ping")
    second = phone.later("Ping")  # empty: the same again
    assert first.get()["Status"] == "1"
    assert second.waits()
    shared.deliver(user)
    assert second.get()["Status"] == "2"
    assert phone.post("Ping")["Status"] == "2"  # until it is synced


def test_a_ping_goes_with_its_client(mailsim):
    server = mailsim()
    phone = server.phone()
    phone.everything(INBOX)
    with socket.create_connection(server.address.split(":")) as s:
        body = activesync.encode(PING)
        s.sendall((f"POST {activesync.EAS}?Cmd=Ping&DeviceId=Phone1&DeviceType=T HTTP/1.1\r\nHost: x\r\nAuthorization: {phone.login}\r\n"
                   f"MS-ASProtocolVersion: 14.1\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
        wire.poll(lambda: server.status()["waiting"] == 1, "the Ping")
    wire.poll(lambda: server.status()["waiting"] == 0, "its end")


# ---- items -------------------------------------------------------------------------------------------------------

def attachment_of(items):
    for key, data in items.items():
        found = data.all("Attachments/Attachment")
        if found:
            return key, found[0]
    raise AssertionError("no attachment")


@pytest.mark.parametrize("version", ["12.0", "12.1", "14.0", "14.1", "16.0", "16.1"])
def test_item_operations(shared, user, version):
    import base64
    phone = shared.phone(user=user, version=version)
    items = phone.everything(INBOX)
    item, attachment = attachment_of(items)

    def operate(*children, **options):
        return phone.post("ItemOperations", ("ItemOperations:ItemOperations", *children), **options)
    fetch = ("Fetch", ("Store", "Mailbox"), ("AirSync:CollectionId", INBOX), ("AirSync:ServerId", item), (
        "ItemOperations:Options", ("AirSyncBase:BodyPreference", ("Type", "1"))))
    answer = operate(fetch)
    assert answer["Response/Fetch/Status"] == "1"
    assert answer["Response/Fetch/Properties/Subject"] == items[item]["Subject"]
    file = operate(("Fetch", ("Store", "Mailbox"), ("AirSyncBase:FileReference", attachment["FileReference"])))
    whole = base64.b64decode(file["Response/Fetch/Properties/Data"])
    assert len(whole) == int(attachment["EstimatedDataSize"])
    part = operate(("Fetch", ("Store", "Mailbox"), ("AirSyncBase:FileReference", attachment["FileReference"]), (
        "ItemOperations:Options", ("Range", "10-29"))))
    assert base64.b64decode(part["Response/Fetch/Properties/Data"]) == whole[10:30]
    assert (part["Response/Fetch/Properties/Range"], part["Response/Fetch/Properties/Total"]) == ("10-29", str(len(whole)))
    bad = operate(("Fetch", ("Store", "Mailbox"), ("AirSyncBase:FileReference", "1:2:99")),
                  ("Fetch", ("Store", "Mailbox"), ("AirSync:CollectionId", INBOX), ("AirSync:ServerId", "1:9999")),
                  ("Fetch", ("Store", "DocumentLibrary")))
    assert [n["Status"] for n in bad.doc.all("Response/Fetch")] == ["15", "6", "2"]

    multi = operate(fetch, ("Fetch", ("Store", "Mailbox"), ("AirSyncBase:FileReference", attachment["FileReference"])),
                    fields={"MS-ASAcceptMultiPart": "T"})
    assert multi.fields["Content-Type"] == "application/vnd.ms-sync.multipart"
    numbers = [int.from_bytes(multi.body[i:i + 4], "little") for i in range(0, 28, 4)]
    assert numbers[0] == 3
    parts = [multi.body[at:at + size] for at, size in zip(numbers[1::2], numbers[2::2])]
    doc = activesync.decode(parts[0])
    bodies = doc.all("Response/Fetch")
    assert bodies[0]["Properties/Body/Part"] == "1" and bodies[1]["Properties/Part"] == "2"
    assert parts[1].decode() == answer["Response/Fetch/Properties/Body/Data"] and parts[2] == whole
    assert operate(("EmptyFolderContents", ("AirSync:CollectionId", INBOX)))["Response/EmptyFolderContents/Status"] == "1"
    assert phone.everything(INBOX) == {}


@pytest.mark.parametrize("version", ["2.5", "12.0", "12.1"])
def test_get_attachment(shared, user, version):
    phone = shared.phone(user=user, version=version)
    _, attachment = attachment_of(phone.everything(INBOX))
    name = attachment["AttName"] if version == "2.5" else attachment["FileReference"]
    size = attachment["AttSize"] if version == "2.5" else attachment["EstimatedDataSize"]
    answer = phone.post("GetAttachment", parameters=f"&AttachmentName={name}")
    assert answer.status == 200 and len(answer.body) == int(size)
    assert phone.post("GetAttachment", parameters="&AttachmentName=1:1:77").status == 500
    later = shared.phone(user=user, version="14.1")
    assert later.post("GetAttachment", parameters=f"&AttachmentName={name}").status == 501


def test_move_items(phone):
    items = phone.everything(INBOX)
    phone.everything(BIN)
    item = next(iter(items))

    def move(source, target, folder=INBOX):
        answer = phone.post("MoveItems", ("Move:MoveItems", ("Move", ("SrcMsgId", source), ("SrcFldId", folder), ("DstFldId", target))))
        return answer.doc.find("Response")
    moved = move(item, BIN)
    assert (moved["Status"], moved["SrcMsgId"]) == ("3", item)
    assert move(item, BIN)["Status"] == "1"
    second = list(items)[1]
    assert move(second, INBOX)["Status"] == "4" and move(second, "99")["Status"] == move(second, CONTACTS)["Status"] == "2"
    node = phone.sync(BIN, ("GetChanges",), phone.bodies())
    assert node is None or not node.all("Commands")  # the device knows: it has moved it
    data = phone.everything(BIN)
    assert list(data) == [moved["DstMsgId"]] and data[moved["DstMsgId"]]["Subject"] == items[item]["Subject"]
    assert item not in phone.everything(INBOX)


@pytest.mark.parametrize("command, verb", [("SmartReply", "1"), ("SmartForward", "3")])
def test_smart(phone, shared, user, command, verb):
    items = phone.everything(INBOX)
    source, attachment = attachment_of(items)
    mime = MAIL.replace(b"bob@", b"reader." + user.encode() + b"@")
    parameters = f"&CollectionId={INBOX}&ItemId={source}"
    answer = send(phone, mime, command=command, source=source, parameters=parameters)
    assert (answer.status, answer.body) == (200, b""), answer
    reader = shared.phone(user=f"reader.{user}", version=phone.version)
    data = list(reader.everything(INBOX).values())
    mail = next(d for d in data if d["Subject"] == "Grüße")
    body = mail["Body"] if phone.version == "2.5" else mail["Body/Data"]
    assert "schöne Grüße" in body and items[source]["Subject"] in body and "Original Message" in body
    assert bool(mail.all("Attachments/Attachment")) == (command == "SmartForward")
    if float(phone.version) >= 14:
        [told] = phone.sync(INBOX, ("GetChanges",)).all("Commands/Change")
        assert (told["ServerId"], told["ApplicationData/LastVerbExecuted"]) == (source, verb)
    missing = send(phone, mime, command=command, source="1:9999", parameters=f"&CollectionId={INBOX}&ItemId=1:9999")
    assert missing.status == 400 or missing["Status"] == "150"


def test_mail_that_cannot_be_sent(phone):
    nobody = send(phone, b"Subject: to nobody\r\n\r\nx")
    none = send(phone, b"")
    if float(phone.version) < 14:
        assert nobody.status == none.status == 400
    else:
        assert (nobody["Status"], none["Status"]) == ("119", "103")


@pytest.mark.parametrize("version", activesync.VERSIONS)
def test_invitations(shared, user, version):
    phone = shared.phone(user=user, version=version)
    invitations = [k for k, v in phone.everything(INBOX).items() if v.find("MeetingRequest")]
    before = phone.everything(CALENDAR, cls="Calendar")

    def respond(item, how):
        return phone.post("MeetingResponse", ("MeetingResponse:MeetingResponse", (
            "Request", ("UserResponse", how), ("CollectionId", INBOX), ("RequestId", item))))["Result/Status"]
    assert [respond(i, how) for i, how in zip(invitations, "123")] == ["1", "1", "1"]
    assert respond("1:1", "1") == respond("1:9999", "1") == respond(invitations[3], "4") == "2"
    after = phone.everything(CALENDAR, cls="Calendar")
    assert len(after) == len(before) + 2  # one was declined
    assert not set(invitations[:3]) & set(phone.everything(INBOX))


# ---- searching and settings --------------------------------------------------------------------------------------

def test_search(phone):
    def search(name, query, range="0-9"):
        return phone.post("Search", ("Search:Search", ("Store", ("Name", name), query, ("Options", ("Range", range))))).doc.find(
            "Response/Store")
    people = search("GAL", ("Query", "erika"))
    assert people["Result/Properties/EmailAddress"].endswith("erika@example.com")
    assert search("Documents", ("Query", "x"))["Status"] == "2"
    if phone.version == "2.5":
        assert search("Mailbox", ("Query", "x"))["Status"] == "2"
        return
    store = search("Mailbox", ("Query", ("And", ("AirSync:Class", "Email"), ("AirSync:CollectionId", INBOX), ("Search:FreeText", "Zürich"))))
    found = store.all("Result")
    assert store["Status"] == "1" and 0 < len(found) <= 10 and int(store["Total"]) >= len(found)
    assert all("1:" in r["LongId"] and r["Properties/Subject"] for r in found)
    second = search("Mailbox", ("Query", ("And", ("Search:FreeText", "Zürich"))), "1-1")
    assert [r["LongId"] for r in second.all("Result")] == [found[1]["LongId"]] and second["Range"] == "1-1"
    none = search("Mailbox", ("Query", ("And", ("Search:FreeText", "nothing like this"))))
    assert none["Status"] == "1" and not none["Result/LongId"] and not none["Total"]


def test_find(shared, user):
    phone = shared.phone(user=user, version="16.1")
    answer = phone.post("Find", ("Find:Find", ("SearchId", "1"), ("ExecuteSearch", ("MailBoxSearchCriterion", (
        "Query", ("AirSync:Class", "Email"), ("AirSync:CollectionId", INBOX), ("Find:FreeText", "Zürich")),
        ("Options", ("Range", "0-3"))))))
    assert answer["Status"] == "1" and answer["Response/Total"] and answer["Response/Result/Properties/Subject"]
    people = phone.post("Find", ("Find:Find", ("SearchId", "2"), ("ExecuteSearch", ("GalSearchCriterion", ("Query", "Zoë")))))
    assert people["Response/Result/Properties/EmailAddress"]
    assert phone.post("Find", ("Find:Find", ("SearchId", "3")))["Status"] == "2"
    assert shared.phone(user=user, version="16.0").post("Find", ("Find:Find", ("SearchId", "1"))).status == 501


def test_resolve_recipients(phone):
    answer = phone.post("ResolveRecipients", ("ResolveRecipients:ResolveRecipients", ("To", "carol@example.com"), ("To", "nobody")))
    known, unknown = answer.doc.all("Response")
    assert (known["Status"], known["Recipient/EmailAddress"], unknown["Status"]) == ("1", "carol@example.com", "4")


@pytest.mark.parametrize("version", ["12.0", "12.1", "14.0", "14.1", "16.0", "16.1"])
def test_settings(shared, user, version):
    phone = shared.phone(user=user, version=version)

    def settings(*children):
        return phone.post("Settings", ("Settings:Settings", *children))
    assert settings(("Oof", ("Get", ("BodyType", "Text"))))["Oof/Get/OofState"] == "0"
    message = ("OofMessage", ("AppliesToInternal",), ("Enabled", "1"), ("ReplyMessage", "Im Urlaub"), ("BodyType", "Text"))
    assert settings(("Oof", ("Set", ("OofState", "1"), message)))["Oof/Status"] == "1"
    oof = settings(("Oof", ("Get", ("BodyType", "Text")))).doc.find("Oof/Get")
    assert (oof["OofState"], oof["OofMessage/ReplyMessage"]) == ("1", "Im Urlaub")
    told = settings(("UserInformation", ("Get",)), ("DeviceInformation", ("Set", ("Model", "Fone 3"), ("OS", "Fonix 9"))))
    assert told["DeviceInformation/Status"] == "1"
    assert any(n.tag == "SMTPAddress" and n.text == f"{user}@example.com" for n in told.doc.walk())
    device = next(d for d in json.loads(shared.ctl("device").stdout) if d["user"] == user)
    assert "Fone 3" in device["information"]


def test_validate_cert(phone):
    answer = phone.post("ValidateCert", ("ValidateCert:ValidateCert", ("Certificates", ("Certificate", "MIIB"))))
    assert (answer["Status"], answer["Certificate/Status"]) == ("1", "4")


# ---- Traveler ----------------------------------------------------------------------------------------------------

def test_traveler_signs_in_by_form(mailsim):
    server = mailsim("--personality", "traveler-9.0.1", "--sign-in-form")
    answer = server.phone(user=None, path="/traveler/Microsoft-Server-ActiveSync").options()
    assert answer.status == 200 and answer.fields["Content-Type"].startswith("text/html") and b"<form" in answer.body
    assert server.phone().options().status == 200
    assert server.phone(user=None).post("Ping").fields["Content-Type"].startswith("text/html")


def test_traveler_with_syncml(mailsim):
    assert mailsim("--personality", "traveler-9.0.1", "--syncml").phone().options().status == 403


@pytest.mark.parametrize("personality, stays", [("traveler-9.0.1", True), ("exchange-2016", False)])
def test_answered_invitations_that_stay(mailsim, personality, stays):
    """CXM-47936: what a client of Traveler deletes stays on the server, if it was an invitation and is answered."""
    server = mailsim("--personality", personality, "--mailbox", "60")
    phone = server.phone()
    invitation = next(k for k, v in phone.everything(INBOX).items() if v.find("MeetingRequest"))
    phone.post("MeetingResponse", ("MeetingResponse:MeetingResponse", (
        "Request", ("UserResponse", "1"), ("CollectionId", INBOX), ("RequestId", invitation))))
    phone.sync(INBOX, ("GetChanges",))
    phone.sync(INBOX, ("GetChanges",), ("Commands", ("Delete", ("ServerId", invitation))))
    assert (invitation in phone.everything(INBOX)) == stays


# ---- what goes wrong on request ----------------------------------------------------------------------------------

def fault(server, rule):
    done = server.ctl("fault", rule)
    assert (done.returncode, done.stderr) == (0, ""), done


def folder_sync(phone):
    return phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))


@pytest.mark.parametrize("rule, status, fields", [
    ("401", 401, {"WWW-Authenticate": 'Basic realm="mailsim"'}), ("403", 403, {}), ("449", 449, {}), ("500", 500, {}),
    ("503,retry-after=7", 503, {"Retry-After": "7"}), ("507", 507, {}),
    ("451=https://there.example.com/Microsoft-Server-ActiveSync", 451, {"X-MS-Location": "https://there.example.com/Microsoft-Server-ActiveSync"}),
    ("throttle", 503, {"X-MS-ASThrottle": "CommandFrequency", "Retry-After": "60"}),
    ("throttle=OutOfBudgets", 503, {"X-MS-ASThrottle": "OutOfBudgets"})])
def test_statuses_on_request(mailsim, rule, status, fields):
    server = mailsim()
    fault(server, f"FolderSync:{rule},count=1")
    answer = folder_sync(server.phone())
    assert answer.status == status and answer.body == b""
    assert {k: answer.fields[k] for k in fields} == fields
    assert folder_sync(server.phone()).status == 200  # it was for once
    wire.poll(lambda: [e for e in server.events if e.get("fault")], "its line in the log")


@pytest.mark.parametrize("personality, retry, throttle", [
    ("exchange-2007sp1", None, None), ("exchange-2010", "60", None), ("exchange-2013", "60", "CommandFrequency"), ("traveler-14.5", None, None)])
def test_what_a_busy_server_tells(mailsim, personality, retry, throttle):
    server = mailsim("--personality", personality, "--fault", "FolderSync:throttle")
    answer = folder_sync(server.phone(version="12.1"))
    assert (answer.status, answer.fields["Retry-After"], answer.fields["X-MS-ASThrottle"]) == (503, retry, throttle)


def test_an_expired_certificate(mailsim, certs):
    server = mailsim("--certificate", certs.folder / "mail-expired.crt", "--key", certs.folder / "mail-expired.key", listen=("https://127.0.0.1:0",))
    done = subprocess.run(["curl", "-sS", "--cacert", certs.ca_crt, f"https://{server.address}/"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 60 and "expired" in done.stderr, done


def test_documents_that_are_spoilt(mailsim):
    server = mailsim()
    phone = server.phone()
    whole = folder_sync(phone).body
    document = activesync.encode(("FolderHierarchy:FolderSync", ("SyncKey", "0")))

    def raw():
        phone.conn.close()
        response = phone.request("POST", f"{activesync.EAS}?Cmd=FolderSync&DeviceId=Phone1&DeviceType=T", document, phone.fields())
        return response, response.read()
    fault(server, "FolderSync:truncate,count=1")
    assert raw()[1] == whole[:len(whole) // 2]
    fault(server, "FolderSync:malformed,count=1")
    _, data = raw()
    assert len(data) == len(whole) and data != whole
    fault(server, "FolderSync:chunked,count=1")
    response, data = raw()
    assert response.headers["Transfer-Encoding"] == "chunked" and data == whole
    fault(server, "FolderSync:close,count=1")
    with pytest.raises(http.client.IncompleteRead):
        raw()
    fault(server, "FolderSync:reset,count=1")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        raw()
    assert raw()[1] == whole


def test_delays_users_and_chances(mailsim):
    server = mailsim("--fault", "OPTIONS:delay=300ms,user=slow", "--fault", "FolderSync:500,percent=50")
    later = []
    thread = threading.Thread(target=lambda: later.append(server.phone(user="slow").options().status), daemon=True)
    thread.start()
    assert server.phone().options().status == 200 and not later
    thread.join(30)
    assert later == [200]
    statuses = [folder_sync(server.phone()).status for _ in range(100)]
    assert 20 < statuses.count(500) < 80
    assert json.loads(server.ctl("fault").stdout) == ["OPTIONS:delay=300ms,user=slow", "FolderSync:500,percent=50"]
    assert json.loads(server.ctl("fault", "clear").stdout) == []
    assert folder_sync(server.phone()).status == 200


@pytest.mark.parametrize("rule", ["Ping", "Ping:", ":503", "Ping:200", "Ping:600", "Ping:delay", "Ping:delay=5", "Ping:451",
                                  "Ping:503,percent=101", "Ping:503,what=1", "Ping:what"])
def test_faults_that_are_none(mailsim, rule):
    server = mailsim()
    done = server.ctl("fault", rule)
    assert done.returncode == 1 and done.stderr.startswith("mailsim: ") and not done.stdout
    start = subprocess.run([str(lab.BIN / "mailsim"), "--listen", "http://127.0.0.1:0", "--fault", rule], capture_output=True, text=True)
    assert start.returncode == 2 and rule in start.stderr


# ---- deliveries and the program ----------------------------------------------------------------------------------

def test_deliveries(mailsim, tmp_path):
    server = mailsim("--mailbox", "0")
    phone = server.phone()
    assert phone.everything(INBOX) == {}
    message = tmp_path / "mail.eml"
    message.write_bytes(b"From: Eve <eve@example.com>\r\nTo: alice@example.com\r\nSubject: hi\r\nImportance: high\r\nMIME-Version: 1.0\r\n"
                        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>1 &lt; 2</p>\r\n"
                        b"--b\r\nContent-Type: image/png; name=a.png\r\nContent-Disposition: attachment; filename=a.png\r\n"
                        b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n")
    server.deliver(message=message)
    server.deliver(count=3)
    server.deliver(subject="Gruß aus Zürich & <Umgebung>")
    items = list(phone.everything(INBOX).values())
    assert len(items) == 5
    items.reverse()  # they come newest first
    assert items[0]["Subject"] == "hi" and items[0]["Importance"] == "2" and "1 < 2" in items[0]["Body/Data"]
    assert items[0]["Attachments/Attachment/DisplayName"] == "a.png" and items[0]["Attachments/Attachment/EstimatedDataSize"] == "8"
    assert items[4]["Subject"] == "Gruß aus Zürich & <Umgebung>"
    for bad in (["--user", "alice", "--message", "/nonexistent"], ["--subject", "x"], ["--user"], ["--what"], ["--user", "a", "x"]):
        assert server.ctl("deliver", *bad).returncode in (1, 2)
    empty = server.ctl("deliver", "--user", "alice", "--message", "-", input="\n\nno header")
    assert empty.returncode == 1 and "no message" in empty.stderr


def test_nobody_answers():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        done = subprocess.run([str(lab.BIN / "mailsim"), "status", "--control", "127.0.0.1:%d" % s.getsockname()[1]],
                              capture_output=True, text=True)
    assert done.returncode == 1 and "--control" in done.stderr


@pytest.mark.parametrize("options", [
    [], ["--listen", "ftp://127.0.0.1:1"], ["--listen", "http://localhost:0"], ["--listen", "https://127.0.0.1:0"],
    ["--listen", "http://127.0.0.1:0", "--personality", "exchange-5.5"], ["--listen", "http://127.0.0.1:0", "--policy", "x"],
    ["--listen", "http://127.0.0.1:0", "--sign-in-form"], ["--listen", "http://127.0.0.1:0", "--users", "/nonexistent"],
    ["--listen", "http://127.0.0.1:0", "--newest", "yesterday"], ["--listen", "http://127.0.0.1:0", "--mailbox", "-1"],
    ["--listen", "http://127.0.0.1:0", "--control", "http://0.0.0.0:0"], ["--listen", "http://127.0.0.1:0", "extra"]], ids=" ".join)
def test_options_that_are_wrong(options):
    done = subprocess.run([str(lab.BIN / "mailsim"), *options], capture_output=True, text=True, timeout=30)
    assert done.returncode in (1, 2) and done.stderr.startswith("mailsim: ") and not done.stdout


def test_a_configuration_file(mailsim, tmp_path):
    conf = tmp_path / "lab.yaml"
    (tmp_path / "users").write_text(f"alice:{subprocess.run(['openssl', 'passwd', '-6', 'pw'], capture_output=True, text=True).stdout}")
    conf.write_text('listen: "http://127.0.0.1:0"\npersonality: traveler-9.0.1\nmailbox: 7\nusers: users\nsign-in-form: yes\n'
                    'fault: ["FolderCreate:507"]\n')
    server = mailsim("-c", conf, "--mailbox", "6")
    phone = server.phone(password="pw")
    assert phone.options().fields["Server"].startswith("Lotus-Domino")
    assert len(phone.everything(INBOX)) == 6  # the option stands above the file
    assert server.phone().options().fields["Content-Type"].startswith("text/html")
    assert json.loads(server.ctl("fault").stdout) == ["FolderCreate:507"]


@pytest.mark.parametrize("text, told", [
    ("mailbox: many", "lab.yaml:1:10: "), ("listen: x\nmailbx: 1", "lab.yaml:2:1: "), ("personality: exchange-2015", "lab.yaml:1:14: "),
    ("policy: [", "lab.yaml:"), ("listen: ftp://x", "ftp://x"), ("mailbox: 5", "--listen is missing"), (None, "lab.yaml: ")])
def test_configurations_that_are_wrong(tmp_path, text, told):
    conf = tmp_path / "lab.yaml"
    if text is not None:
        conf.write_text(text)
    done = subprocess.run([str(lab.BIN / "mailsim"), "-c", conf], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and told in done.stderr and not done.stdout


def test_help_and_lists():
    def run(*arguments):
        done = subprocess.run([str(lab.BIN / "mailsim"), *arguments], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout
    assert "--personality" in run("--help") and "RULE" in run("deliver", "--help") and run("--version").startswith("mailsim ")
    assert [line.split()[0] for line in run("--personality", "list").splitlines()] == list(PERSONALITIES)


def test_a_server_of_ssl3(mailsim, certs):
    server = mailsim(listen=("http://127.0.0.1:0", "ssl3://127.0.0.1:0"))
    host, port = server.listeners[1].split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(bytes.fromhex("160301002f0100002b0303" + "00" * 32 + "000002130101000000"))
        assert s.recv(100) == bytes.fromhex("15030000020228")
        assert s.recv(100) == b""
