"""ActiveSync as a client speaks it: documents by name, and a phone. Every answer is held against the tags that its protocol
version has.

A document is a tree of tuples: ("Sync", ("Collections", ...)) with names as in wbxml-tokens.tsv, a page in front where it
changes ("FolderHierarchy:FolderSync"); a child is a tuple, a str, or bytes for opaque data.
"""
import base64
import http.client
import pathlib
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VERSIONS = ["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"]
EAS = "/Microsoft-Server-ActiveSync"


def _load():
    names, tags, known = {}, {}, {}
    for line in (ROOT / "src/proto/wbxml-tokens.tsv").read_text().splitlines():
        if line.startswith("#"):
            continue
        page, name, token, tag, versions = line.split("\t")
        names[int(page), int(token, 16)] = f"{name}:{tag}"
        tags[f"{name}:{tag}"] = (int(page), int(token, 16))
        known[f"{name}:{tag}"] = set(VERSIONS) if versions == "All" else {v.strip() for v in versions.split(",")}
    return names, tags, known


NAMES, TAGS, KNOWN = _load()


class Node:
    """An element of an answer: node["Status"] is the text of a child, node.all("Add") its children of that name."""

    def __init__(self, name):
        self.name, self.children, self.data = name, [], None

    @property
    def tag(self):
        return self.name.split(":")[1]

    @property
    def text(self):
        return self.data.decode() if isinstance(self.data, bytes) else self.data or ""

    def find(self, path):
        node = self
        for part in path.split("/"):
            found = [c for c in node.children if part in (c.tag, c.name)]
            if not found:
                return None
            node = found[0]
        return node

    def __getitem__(self, path):
        node = self.find(path)
        return None if node is None else node.text

    def all(self, path):
        *up, last = path.split("/")
        node = self.find("/".join(up)) if up else self
        return [c for c in node.children if last in (c.tag, c.name)] if node is not None else []

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self):
        return f"<{self.tag} {self.data!r} {self.children}>" if self.children else f"<{self.tag} {self.data!r}>"


def encode(document):
    out, page = bytearray(b"\x03\x01\x6a\x00"), 0

    def write(element, namespace):
        nonlocal page
        name, *children = element
        if ":" in name:
            namespace = name.split(":")[0]
        else:
            name = f"{namespace}:{name}"
        new, token = TAGS[name]
        if new != page:
            out.extend((0, new))
            page = new
        out.append(token | (0x40 if children else 0))
        for child in children:
            if isinstance(child, tuple):
                write(child, namespace)
            elif isinstance(child, bytes):
                n, size = len(child), [len(child) & 0x7F]
                while n > 0x7F:
                    n >>= 7
                    size.insert(0, n & 0x7F | 0x80)
                out.extend(b"\xc3" + bytes(size) + child)
            else:
                out.extend(b"\x03" + str(child).encode() + b"\0")
        if children:
            out.append(1)
    write(document, "AirSync")
    return bytes(out)


def decode(data):
    assert data[:4] == b"\x03\x01\x6a\x00", data[:20]
    at, page, top = 4, 0, Node(":")
    stack = [top]
    while at < len(data):
        byte = data[at]
        at += 1
        if byte == 0:
            page = data[at]
            at += 1
        elif byte == 1:
            stack.pop()
        elif byte == 3:
            end = data.index(0, at)
            stack[-1].data = (stack[-1].data or "") + data[at:end].decode()
            at = end + 1
        elif byte == 0xC3:
            size = 0
            while True:
                size = size << 7 | data[at] & 0x7F
                at += 1
                if not data[at - 1] & 0x80:
                    break
            stack[-1].data = (stack[-1].data or b"") + data[at:at + size]
            at += size
        else:
            node = Node(NAMES[page, byte & 0x3F])
            stack[-1].children.append(node)
            if byte & 0x40:
                stack.append(node)
    assert stack == [top] and len(top.children) == 1, "the document does not end where it should"
    return top.children[0]


class Answer:
    def __init__(self, response, version, strict=True):
        self.status, self.fields = response.status, response.headers
        self.body = response.read()
        self.doc = None
        if self.body and response.headers.get("Content-Type") == "application/vnd.ms-sync.wbxml":
            self.doc = decode(self.body)
            for node in self.doc.walk():
                assert not strict or version not in VERSIONS or version in KNOWN[node.name], f"{version} has no {node.name}"

    def __getitem__(self, path):
        return self.doc[path]

    def __repr__(self):
        return f"<{self.status} {dict(self.fields)} {self.doc or self.body!r}>"


class Phone:
    """A device of a user, on connections of its own."""

    def __init__(self, address, user="alice", version="14.1", device="Phone1", password="any", path=EAS):
        self.address, self.user, self.version, self.device, self.path = address, user, version, device, path
        self.login = None if user is None else "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.policy = None
        self.strict = True  # answers have to be in tags of their version
        self.keys = {}
        self.conn = http.client.HTTPConnection(address, timeout=30)

    def fields(self, extra=None):
        fields = {"MS-ASProtocolVersion": self.version, "Content-Type": "application/vnd.ms-sync.wbxml"}
        if self.login:
            fields["Authorization"] = self.login
        if self.policy:
            fields["X-MS-PolicyKey"] = self.policy
        return {**fields, **(extra or {})}

    def request(self, method, path, body=None, fields=None):
        self.conn.request(method, path, body, fields or {})
        return self.conn.getresponse()

    def options(self):
        return Answer(self.request("OPTIONS", self.path, fields=self.fields()), self.version, self.strict)

    def post(self, command, document=None, body=None, parameters="", fields=None):
        """Asks, and gives the answer. Without a document: an empty body, or this one."""
        query = f"?Cmd={command}&User={self.user}&DeviceId={self.device}&DeviceType=Test{parameters}"
        body = encode(document) if document is not None else body
        fields = {k: v for k, v in self.fields(fields).items() if v is not None}
        if body is None:
            fields.pop("Content-Type")
        response = self.request("POST", self.path + query, body or b"", fields)
        return Answer(response, self.version, self.strict)

    def later(self, command, document=None, body=None):
        """Asks on a connection and a thread of its own; the result's .get() waits for the answer."""
        return Later(Phone.copy(self), command, document, body)

    def copy(self):
        other = Phone.__new__(Phone)
        other.__dict__.update(self.__dict__)
        other.conn = http.client.HTTPConnection(self.address, timeout=60)
        return other

    # ---- what most tests need

    def provision(self):
        kind = "MS-WAP-Provisioning-XML" if self.version == "2.5" else "MS-EAS-Provisioning-WBXML"
        policy = ("PolicyType", kind)
        first = self.post("Provision", ("Provision:Provision", ("Policies", ("Policy", policy))))
        key = first["Policies/Policy/PolicyKey"]
        second = self.post("Provision", ("Provision:Provision", ("Policies", (
            "Policy", policy, ("PolicyKey", key), ("Status", "1")))))
        self.policy = second["Policies/Policy/PolicyKey"]
        return first, second

    def folders(self, key="0"):
        """{name: Node} of what a FolderSync adds; self.hierarchy is the new key."""
        answer = self.post("FolderSync", ("FolderHierarchy:FolderSync", ("SyncKey", key)))
        assert answer.status == 200 and answer["Status"] == "1", answer
        self.hierarchy = answer["SyncKey"]
        return {n["DisplayName"]: n for n in answer.doc.all("Changes/Add")}

    def collection(self, folder, *rest, key=None, names=None):
        key = key if key is not None else self.keys.get(folder, "0")
        head = (("Class", names),) if names and self.version in ("2.5", "12.0", "12.1") else ()
        return ("Collection", *head, ("SyncKey", key), ("CollectionId", folder), *rest)

    def sync_document(self, folder, *rest, key=None, top=(), cls="Email"):
        return ("Sync", *top, ("Collections", self.collection(folder, *rest, key=key, names=cls)))

    def sync(self, folder, *rest, key=None, cls="Email", again=False):
        """One Sync of a folder; the collection's Node, or None for an empty answer. Remembers the key."""
        answer = self.post("Sync", self.sync_document(folder, *rest, key=key, cls=cls))
        assert answer.status == 200, answer
        if not answer.body:
            return None
        node = answer.doc.find("Collections/Collection")
        if node is not None and node["Status"] == "1" and not again:
            self.keys[folder] = node["SyncKey"]
        return node

    def start(self, folder, cls="Email"):
        node = self.sync(folder, key="0", cls=cls)
        assert node["Status"] == "1" and not node.all("Commands"), node
        return self

    def bodies(self, kind="1", size="20000"):
        """Options for a Sync that wants bodies of this type."""
        if self.version == "2.5":
            return ("Options", ("FilterType", "0"), ("Truncation", "8"))
        return ("Options", ("FilterType", "0"), ("AirSyncBase:BodyPreference", ("Type", kind), ("TruncationSize", size)))

    def everything(self, folder, *rest, cls="Email", window="50"):
        """All items that a folder has, by ServerId, in the order in which they came."""
        items = {}
        self.start(folder, cls)
        while True:
            node = self.sync(folder, ("WindowSize", window), *(rest or (self.bodies(),)), cls=cls)
            if node is None:
                return items
            assert node["Status"] == "1", node
            for add in node.all("Commands/Add"):
                assert add["ServerId"] not in items
                items[add["ServerId"]] = add.find("ApplicationData")
            if node.find("MoreAvailable") is None:
                return items


class Later:
    def __init__(self, phone, command, document, body):
        self.answer = self.error = None

        def run():
            try:
                self.answer = phone.post(command, document, body)
            except BaseException as e:  # handed on
                self.error = e
        self.phone = phone
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def waits(self):
        return self.thread.is_alive()

    def get(self):
        self.thread.join(30)
        assert not self.thread.is_alive(), "no answer"
        if self.error:
            raise self.error
        return self.answer
