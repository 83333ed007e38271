"""One client, two servers: what works with SOGo works with mailsim unchanged, and their answers have the same shape. The client
is tests/e2e/activesync.py; no gateway is between."""
import json
import subprocess
import time

import pytest
from interop import lab

from activesync import Phone  # tests/e2e, which interop.py has put on the path

VERSIONS = ["12.1", "14.0", "14.1"]


class SogoPhone(Phone):
    """SOGo's own port closes connections without a word: a new one for each request."""

    def request(self, *arguments, **options):
        self.conn.close()
        return super().request(*arguments, **options)

    def copy(self):
        other = super().copy()
        other.__class__ = SogoPhone
        return other


class SogoServer:
    def __init__(self, sogo):
        self.sogo = sogo

    def phone(self, device, version):
        phone = SogoPhone(f"127.0.0.1:{self.sogo.env['WO_PORT']}", "alice", version, device, "alice-secret",
                      "/SOGo/Microsoft-Server-ActiveSync")
        phone.strict = False
        return phone

    def deliver(self, subject):
        self.sogo.deliver("alice", subject)

    def stop(self):
        pass


class MailsimServer:
    def __init__(self):
        self.process = subprocess.Popen([str(lab.BIN / "mailsim"), "--listen", "http://127.0.0.1:0", "--control",
                                         "http://127.0.0.1:0", "--log", "json", "--quiet", "--mailbox", "3"],
                                        stderr=subprocess.PIPE, text=True)
        ready = json.loads(self.process.stderr.readline())
        self.address, self.control = ready["listeners"][0], ready["control"]

    def phone(self, device, version):
        return Phone(self.address, "alice", version, device, "alice-secret")

    def deliver(self, subject):
        subprocess.run([str(lab.BIN / "mailsim"), "deliver", "--control", self.control, "--user", "alice", "--subject", subject],
                       check=True, timeout=60)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


@pytest.fixture(scope="module")
def servers(sogo):
    both = {"sogo": SogoServer(sogo), "mailsim": MailsimServer()}
    yield both
    for server in both.values():
        server.stop()


@pytest.fixture(params=["sogo", "mailsim"])
def server(request, servers):
    return servers[request.param]


@pytest.fixture(params=VERSIONS)
def phone(request, server):
    return server.phone(f"two{request.param.replace('.', '')}", request.param)


def by_type(phone):
    """Not by name: SOGo gives two the same."""
    answer = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
    assert answer.status == 200 and answer["Status"] == "1", answer
    phone.hierarchy = answer["SyncKey"]
    return {node["Type"]: node["ServerId"] for node in answer.doc.all("Changes/Add")}


def until(what, deadline=60):
    end = time.monotonic() + deadline
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)


def test_options(phone):
    answer = phone.options()
    assert answer.status == 200
    assert {"12.1", "14.0", "14.1"} <= set(answer.fields["MS-ASProtocolVersions"].split(","))
    assert {"Sync", "SendMail", "SmartForward", "SmartReply", "FolderSync", "FolderCreate", "FolderDelete", "FolderUpdate",
            "MoveItems", "GetItemEstimate", "MeetingResponse", "Search", "Settings", "Ping", "ItemOperations",
            "ResolveRecipients", "ValidateCert"} <= set(answer.fields["MS-ASProtocolCommands"].split(","))
    assert answer.fields["MS-Server-ActiveSync"] and answer.fields["Cache-Control"] == "private"


def test_nobody(server):
    phone = server.phone("nobody", "14.1")
    phone.login = None
    answer = phone.options()
    assert answer.status == 401 and answer.fields["WWW-Authenticate"].lower().startswith("basic ")


def test_folders(phone):
    folders = by_type(phone)
    assert {"2", "3", "4", "5", "7", "8", "9"} <= set(folders)
    again = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", phone.hierarchy)))
    assert again["Status"] == "1" and again["Changes/Count"] == "0"


def test_mail(server, phone):
    """A mail is synced, fetched, read and thrown away."""
    inbox, bin = (by_type(phone)[t] for t in ("2", "4"))
    subject = f"Zwei Server {time.time_ns()}"
    phone.everything(inbox)
    server.deliver(subject)

    def arrived():
        node = phone.sync(inbox, ("GetChanges",), ("WindowSize", "50"), phone.bodies())
        adds = node.all("Commands/Add") if node else []
        return [a for a in adds if a["ApplicationData/Subject"] == subject]
    [mail] = until(arrived)
    assert mail["ApplicationData/Read"] == "0" and mail["ApplicationData/Body/Data"] and mail["ApplicationData/DateReceived"]
    item = mail["ServerId"]
    fetched = phone.post("ItemOperations", ("ItemOperations:ItemOperations", (
        "Fetch", ("Store", "Mailbox"), ("AirSync:CollectionId", inbox), ("AirSync:ServerId", item), (
            "ItemOperations:Options", ("AirSyncBase:BodyPreference", ("Type", "1"))))))
    assert fetched["Response/Fetch/Status"] == "1" and fetched["Response/Fetch/Properties/Subject"] == subject
    read = phone.sync(inbox, ("GetChanges", "0"), ("Commands", ("Change", ("ServerId", item), ("ApplicationData", ("Email:Read", "1")))))
    assert read is None or read["Status"] == "1"
    moved = phone.post("MoveItems", ("Move:MoveItems", ("Move", ("SrcMsgId", item), ("SrcFldId", inbox), ("DstFldId", bin))))
    assert moved["Response/Status"] == "3" and moved["Response/DstMsgId"]


def test_ping(server, phone):
    inbox = by_type(phone)["2"]
    phone.everything(inbox)
    while phone.sync(inbox, ("GetChanges",), phone.bodies()) is not None:
        pass  # SOGo has more to tell after what it calls the end
    waiting = phone.later("Ping", ("Ping:Ping", ("HeartbeatInterval", "120"), ("Folders", ("Folder", ("Id", inbox), ("Class", "Email")))))
    time.sleep(1)  # a server has to have it before the mail comes, and not all of them tell
    assert waiting.waits(), (waiting.answer, waiting.error)
    server.deliver("Aufwachen")
    waiting.thread.join(150)
    answer = waiting.get()
    assert (answer["Status"], answer["Folders/Folder"]) == ("2", inbox)


def test_contacts(phone):
    contacts = by_type(phone)["9"]
    phone.everything(contacts, ("WindowSize", "50"), cls="Contacts")
    added = phone.sync(contacts, ("GetChanges",), ("Commands", ("Add", ("ClientId", "c1"), (
        "ApplicationData", ("Contacts:FirstName", "Zoë"), ("Contacts:LastName", "Ångström"),
        ("Contacts:Email1Address", "zoe@example.com")))), cls="Contacts")
    answer = added.find("Responses/Add")
    assert answer["Status"] == "1" and answer["ClientId"] == "c1" and answer["ServerId"]


def test_policies(phone):
    kind = "MS-EAS-Provisioning-WBXML"
    answer = phone.post("Provision", ("Provision:Provision", ("Policies", ("Policy", ("PolicyType", kind)))))
    assert answer["Status"] == "1" and answer["Policies/Policy/PolicyType"] == kind
    assert answer["Policies/Policy/Status"] in ("1", "2")


def test_keys_that_are_none(phone):
    inbox = by_type(phone)["2"]
    node = phone.sync(inbox, ("GetChanges",), key="987654")
    assert node["Status"] == "3"


# ---- the same shape ----------------------------------------------------------------------------------------------

def shape(node, into=""):
    """The paths of all elements."""
    here = f"{into}/{node.tag}"
    return {here}.union(*(shape(child, here) for child in node.children))


def conversation(server, version):
    """The shapes of what a server answers a phone that comes for the first time."""
    phone = server.phone(f"shape{version.replace('.', '')}", version)
    folders = phone.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", "0")))
    inbox = next(n["ServerId"] for n in folders.doc.all("Changes/Add") if n["Type"] == "2")
    server.deliver("Wie sieht sie aus?")
    shapes = {"FolderSync": shape(folders.doc)}
    first = phone.post("Sync", phone.sync_document(inbox, key="0"))
    shapes["Sync 0"] = shape(first.doc)

    def synced():
        answer = phone.post("Sync", phone.sync_document(inbox, ("GetChanges",), ("WindowSize", "25"), phone.bodies(),
                                                        key=first["Collections/Collection/SyncKey"]))
        return answer if answer.doc and answer.doc.all("Collections/Collection/Commands/Add") else None
    second = until(synced)
    shapes["Sync 1"] = shape(second.doc)
    shapes["Ping"] = shape(phone.post("Ping").doc)
    shapes["GetItemEstimate"] = shape(phone.post("GetItemEstimate", ("GetItemEstimate:GetItemEstimate", ("Collections", (
        "Collection", ("AirSync:SyncKey", second["Collections/Collection/SyncKey"]), ("GetItemEstimate:CollectionId", inbox),
        ("AirSync:Options", ("FilterType", "0")))))).doc)
    return shapes


MAIL = "/Sync/Collections/Collection/Commands/Add/ApplicationData"
SOGO_ALONE = {  # what SOGo puts into its answers and mailsim does not, each for a reason
    "/Sync/Collections/Collection/Class": "14.0 and later have no Class there (MS-ASCMD 2.2.3.27.5)",
    "/GetItemEstimate/Response/Collection/Class": "the same (MS-ASCMD 2.2.3.27.2)",
    f"{MAIL}/Body/Preview": "nobody has asked for it",
    f"{MAIL}/Body/Truncated": "0, where nothing is cut off",
    f"{MAIL}/Categories": "empty, where there are none",
    f"{MAIL}/Flag/Status": "0, where no flag is set: an empty Flag says that (MS-ASEMAIL 2.2.2.34)",
    f"{MAIL}/LastVerbExecuted": "0, where nothing was done",
    f"{MAIL}/ReplyTo": "From once more, where the mail has no Reply-To",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_shapes(servers, version):
    theirs, ours = (conversation(servers[name], version) for name in ("sogo", "mailsim"))
    for what, paths in theirs.items():
        missing = {p for p in paths - ours[what] if p not in SOGO_ALONE}
        assert not missing, f"{what}: SOGo has these, mailsim has not: " + "\n".join(sorted(missing))
