"""STA XML as others speak it: an issuer's and a gateway's messages, a client that sends them to an authority's service,
authorities of our own in processes of their own, and authorities in Python that answer whatever a test wants.
"""
import http.client
import json
import re
import threading
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

import lab
import wire
from wire import DEADLINE

PATH = "/scripts/ctxsta.dll"
TYPE = "text/xml; charset=utf-8"
PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE CtxSTAProtocol SYSTEM "CtxSTA.dtd">\n'


# ---- messages ----------------------------------------------------------------------------------------------

def message(inner, version="4.0"):
    return f'{PROLOGUE}<CtxSTAProtocol version="{version}">\n{inner}\n</CtxSTAProtocol>\n'.encode()


def conn_info(user, application="Mail", server="mail.example.com"):
    """What a real issuer puts into XData."""
    return (f'<?xml version="1.0"?><!DOCTYPE CtxConnInfoProtocol SYSTEM "CtxConnInfo.dtd"><CtxConnInfo version="1.0">'
            f"<ServerAddress>{server}</ServerAddress><UserName>{escape(user)}</UserName><UserDomain>EXAMPLE</UserDomain>"
            f"<ApplicationName>{escape(application)}</ApplicationName><Protocol>ICA</Protocol></CtxConnInfo>")


def request_ticket(address=lab.MAIL, user="alice", application="Mail", version="4.0", types=None, refreshable=None,
                   services=(), **wishes):
    """RequestTicket as a real issuer sends it; services and wishes (cls, device, lifetime …) are stagate's own
    element."""
    types = types or (["STA-v4"] if version == "4.0" else ["STA-v1"])
    values = {"ICAAddress": address, "CGPAddress": "", "SSLRelayAddress": "", "XData": conn_info(user, application)}
    parts = [f"<AllowedTicketType>{t}</AllowedTicketType>" for t in types]
    parts.append("<AllowedAuthorityIDType>STA-v1</AllowedAuthorityIDType>")
    data = "".join(f'<Value name="{name}">{escape(value)}</Value>' for name, value in values.items())
    parts.append(f"<TicketData>{data}</TicketData>")
    if refreshable is not None:
        parts.append(f"<Control><Refreshable>{str(refreshable).lower()}</Refreshable></Control>")
    if wishes or services:
        attributes = "".join(f' {"class" if k == "cls" else k}={quoteattr(str(v))}' for k, v in wishes.items())
        inner = "".join(f"<Service>{escape(s)}</Service>" for s in services)
        parts.append(f"<StagateTicket{attributes}>{inner}</StagateTicket>")
    return message(f"<RequestTicket>{''.join(parts)}</RequestTicket>", version)


def value_of(ticket):
    return ticket.split(";")[3]


def request_data(ticket, version=40):
    return message(f'<RequestData><Ticket version="{version}">{value_of(ticket)}</Ticket></RequestData>')


def request_refresh(ticket):
    return message(f'<RequestTicketRefresh><Ticket version="40">{value_of(ticket)}</Ticket></RequestTicketRefresh>')


def request_id():
    return message("<RequestAuthorityID></RequestAuthorityID>")


class Answer:
    """An authority's answer: status, the message's kind, and what stands in it."""

    def __init__(self, status, content_type, body):
        self.status = status
        self.type = content_type
        self.body = body
        root = ElementTree.fromstring(body)
        assert root.tag == "CtxSTAProtocol" and len(root) == 1, body
        self.version = root.get("version")
        self.element = root[0]
        self.kind = self.element.tag
        error = self.element.find("Error")
        self.error = None if error is None else error.get("id")
        self.values = {v.get("name"): v.text or "" for v in self.element.iter("Value")}
        self.id = self.element.findtext("AuthorityID")
        facts = self.element.find("StagateTicket")
        self.facts = {} if facts is None else dict(facts.attrib)
        self.services = [s.text for s in self.element.iter("Service")]
        if self.element.find("Ticket") is not None:
            lab.keep_secret(self.ticket)

    @property
    def ticket(self):
        """The ticket string."""
        assert self.kind == "ResponseTicket" and self.error is None, self
        return f";{self.element.findtext('TicketVersion')};{self.id};{self.element.findtext('Ticket')}"

    def __repr__(self):
        return f"<{self.status} {self.kind} {self.error} {self.body!r}>"


class Service:
    """An authority's STA service as others see it, over one kept connection. What goes wrong with it is OSError."""

    def __init__(self, address, context=None, source=None):
        make = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
        options = {} if context is None else {"context": context}
        self.connection = make(address, timeout=DEADLINE, source_address=source and (source, 0), **options)

    def ask(self, body, method="POST", path=PATH, **fields):
        """Sends a message and returns the Answer. fields: header fields, None leaves one out that is sent by default."""
        headers = {"Content-Type": TYPE, **{k.replace("_", "-"): v for k, v in fields.items()}}
        try:
            self.connection.request(method, path, body, {k: v for k, v in headers.items() if v is not None})
            answer = self.connection.getresponse()
            return Answer(answer.status, answer.headers["Content-Type"], answer.read())
        except http.client.HTTPException as error:
            self.close()
            raise OSError(repr(error)) from error
        except OSError:
            self.close()
            raise

    def issue(self, **wishes):
        """A ticket string."""
        return self.ask(request_ticket(**wishes)).ticket

    def redeem(self, ticket):
        """"ok", or what the error is called."""
        answer = self.ask(request_data(ticket))
        assert answer.kind == "ResponseData", answer
        return answer.error or "ok"

    def close(self):
        self.connection.close()


# ---- authorities of our own --------------------------------------------------------------------------------

def embedded(listen="http://127.0.0.1:0", id=lab.AUTHORITY, store="lmdb:tickets", **keys):
    """An entry of `authorities` that serves STA XML."""
    return {"id": id, "store": store, "listen": listen, **{k.replace("_", "-"): v for k, v in keys.items()}}


def remote(url, **keys):
    """An entry of `authorities` that is asked over HTTP. Nothing is asked twice by itself unless told so."""
    entry = {"url": url, "probe": "24h", "timeout": "20s", "bypass": "24h"}
    return {**entry, **{k.replace("_", "-"): v for k, v in keys.items()}}


def authority_config(certs, *entries, **sections):
    """An authority alone: no listener."""
    sections.setdefault("admin", {"socket": "admin.sock"})
    return lab.config(certs, listed=[lab.MAIL], listeners=[], authorities=list(entries) or [embedded()], **sections)


def gateway_config(certs, services, *entries, **sections):
    """A gateway that asks these authorities."""
    sections.setdefault("admin", {"socket": "admin.sock"})
    return lab.config(certs, services, authorities=list(entries), **sections)


def service(authority, index=0, **options):
    """A client for an authority's address."""
    return Service(authority.ready["sta"][index], **options)


def url(authority, index=0, scheme="http"):
    return f"{scheme}://{authority.ready['sta'][index]}"


def status(gateway):
    """stagate authority status --json, by ID; those without one by their url."""
    result = lab.stagate("authority", "status", "--json", "-c", gateway.path)
    assert (result.returncode, result.stderr) == (0, ""), result
    return {a["id"] or a["url"]: a for a in json.loads(result.stdout)}


def metrics(gateway, name):
    """The samples of one metric: {frozenset of labels' items without number: value}."""
    code, text = lab.http("GET", gateway.ready["admin_socket"], "/metrics")
    assert code == 200
    found = {}
    for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        pairs.pop("number", None)
        found[frozenset(pairs.items())] = int(value)
    return found


def metric(gateway, name, **labels):
    """One sample; 0 where it is not there."""
    return metrics(gateway, name).get(frozenset(labels.items()), 0)


# ---- authorities in Python ---------------------------------------------------------------------------------

def response(body, status="200 OK", content_type=TYPE, fields=""):
    return (f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
            .encode() + body)


def plain(status, text="<html><body>not here</body></html>"):
    """What servers that are no authority answer."""
    return response(text.encode(), status, "text/html")


def error(kind, id):
    return response(message(f'<{kind}><Error id="{id}">So it is.</Error></{kind}>'))


def good_id(id):
    return response(message(f"<ResponseAuthorityID><AuthorityID>{id}</AuthorityID></ResponseAuthorityID>"))


def good_data(address=lab.MAIL, facts=""):
    value = f'<Value name="ICAAddress">{address}</Value>'
    return response(message(f"<ResponseData><TicketData>{value}</TicketData>{facts}</ResponseData>"))


def hangs(conn):
    """Answers nothing, for as long as the other one waits."""
    conn.ends()
    return False


def closes(conn):
    return False


class Fake:
    """A handler for backends.Backend: an authority that answers each request out of `answers`, by the request's name, or
    by `always`: bytes, or a function of the connection that says whether to go on. `asked` has the names of all requests."""

    def __init__(self, id=None, always=None, **answers):
        self.id = id
        self.always = always
        self.answers = answers
        self.asked = []
        self.bodies = []
        self.fields = []
        self._lock = threading.Lock()

    def count(self, name):
        return self.asked.count(name)

    def _answer_to(self, name):
        if self.always is not None:
            return self.always
        if name in self.answers:
            return self.answers[name]
        return good_id(self.id) if name == "RequestAuthorityID" else good_data()

    def __call__(self, conn, backend):
        while True:
            first = conn.recv()
            if not first:
                return
            conn.unread(first)
            head = conn.recv_until(b"\r\n\r\n").decode("latin-1")
            length = int(re.search(r"(?i)\r\ncontent-length: *(\d+)", head)[1])
            body = conn.recv_exact(length)
            name = re.search(rb"<(Request\w+)", body)[1].decode()
            with self._lock:
                self.asked.append(name)
                self.bodies.append(body)
                self.fields.append(head)
            answer = self._answer_to(name)
            if callable(answer):
                if not answer(conn):
                    return
            else:
                conn.sendall(answer)
