"""Bodies that pass through the relays, of any size and at any speed, and connections that end in the middle of one."""
import hashlib
import threading
import time

import pytest

import lab
import wire
from phones import FOLDER_SYNC, read_answer, read_head

MB = 1024 * 1024
BIG = 100 * MB
WARM = 32 * MB
PIECE = bytes(range(256)) * 1024  # 256 KB
GROWTH_MAX_KB = 256


class Mail:
    """A SendMail of 12.1, whose body is the message itself."""

    keys = dict(command="SendMail", version="12.1")

    @staticmethod
    def fields(length):
        return ["Content-Type: message/rfc822", f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"]


def pieces(total):
    for at in range(0, total, len(PIECE)):
        yield PIECE[:total - at]


def digest(total):
    d = hashlib.sha256()
    for piece in pieces(total):
        d.update(piece)
    return d.hexdigest()


def chunks(conn):
    while size := int(conn.recv_until(b"\r\n").split(b";")[0], 16):
        left = size
        while left:
            data = conn.recv(min(left, 65536))
            assert data, "ended within a chunk"
            left -= len(data)
            yield data
        assert conn.recv_exact(2) == b"\r\n"
    assert conn.recv_exact(2) == b"\r\n"


def body_of(conn, fields):
    """A body as it comes, nothing of it kept."""
    if fields.get("transfer-encoding") == "chunked":
        yield from chunks(conn)
        return
    left = int(fields.get("content-length", 0))
    while left:
        data = conn.recv(min(left, 65536))
        assert data, "ended within a body"
        left -= len(data)
        yield data


def answers_with(make_answer):
    """A mail server that takes each body and notes what it was; make_answer(conn, fields, text) answers."""
    def server(conn, backend):
        while True:
            try:
                _, fields = read_head(conn)
            except AssertionError:
                return
            d, length = hashlib.sha256(), 0
            for data in body_of(conn, fields):
                d.update(data)
                length += len(data)
                backend.sent = length
            backend.requests.append((fields, length, d.hexdigest()))
            make_answer(conn)
    return server


def says_done(conn):
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


def says_much(chunked):
    def answer(conn):
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BIG}"
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{framing}\r\n\r\n".encode())
        for piece in pieces(BIG):
            conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            conn.sendall(b"0\r\n\r\n")
    return answer


class Memory:
    """The most the gateway has had while this was open, against what it had before. Much should have passed by then: a
    worker's buffers, which all its connections share, are as large as they get only when a peer was slow."""

    def __init__(self, gateway, limit_kb=GROWTH_MAX_KB):
        self.gateway, self.limit_kb = gateway, limit_kb

    def __enter__(self):
        self.before = self.most = self.gateway.rss_kb("RssAnon")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, self.gateway.rss_kb("RssAnon"))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(wire.DEADLINE)
        if not lab.sanitized():
            assert self.most - self.before <= self.limit_kb, f"{self.before} kB became {self.most}"


def send_mail(phone, length, chunked=False):
    phone.send(fields=Mail.fields(None if chunked else length), **Mail.keys)
    for piece in pieces(length):
        phone.conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        phone.conn.sendall(b"0\r\n\r\n")
    assert read_answer(phone.conn).body == b"done"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_100_mb_up(phone, chunked):
    phone = phone(server=answers_with(says_done))
    send_mail(phone, WARM, chunked)
    with Memory(phone.gateway):
        send_mail(phone, BIG, chunked)
    fields, length, sum_ = phone.backend.requests[-1]
    assert (length, sum_) == (BIG, digest(BIG))
    assert ("transfer-encoding" in fields) == chunked


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_100_mb_down(phone, chunked):
    phone = phone(server=answers_with(says_much(chunked)))
    phone.send(method="OPTIONS", command=None)
    _, fields = read_head(phone.conn)
    d, body = hashlib.sha256(), body_of(phone.conn, fields)
    taken = 0
    while taken < WARM:
        data = next(body)
        taken += len(data)
        d.update(data)
    with Memory(phone.gateway):
        for data in body:
            d.update(data)
    assert d.hexdigest() == digest(BIG) and ("content-length" in fields) != chunked


# ---- speeds that differ --------------------------------------------------------------------------------------

def steady(value):
    """Calls value until it has stood still for a while, and returns what it stands at."""
    last, since = value(), time.monotonic()
    end = since + wire.DEADLINE
    while time.monotonic() - since < 0.4:
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.01)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def test_a_client_that_does_not_read_holds_back_the_server(phone):
    sent = []

    def answer(conn):
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {BIG}\r\n\r\n".encode())
        for piece in pieces(BIG):
            conn.sendall(piece)
            sent.append(len(piece))

    phone = phone(server=answers_with(answer))
    phone.send(method="OPTIONS", command=None)
    _, fields = read_head(phone.conn)
    with Memory(phone.gateway, 1024):  # from the start: a worker's buffers are in it
        assert steady(lambda: sum(sent)) < 70 * MB, "nothing held the server back"
    d = hashlib.sha256()
    for data in body_of(phone.conn, fields):
        d.update(data)
    assert d.hexdigest() == digest(BIG)


def test_a_server_that_does_not_read_holds_back_the_client(phone):
    def server(conn, backend):
        read_head(conn)
        backend.go.wait(wire.DEADLINE)
        backend.sent = sum(len(data) for data in chunks(conn))
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    phone = phone(server=server)
    phone.send(fields=Mail.fields(None), **Mail.keys)
    sent = []

    def send():
        for piece in pieces(BIG):
            phone.conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent.append(len(piece))
        phone.conn.sendall(b"0\r\n\r\n")
    sender = threading.Thread(target=send, daemon=True)
    with Memory(phone.gateway, 1024):
        sender.start()
        assert steady(lambda: sum(sent)) < 70 * MB, "nothing held the client back"
    phone.backend.go.set()
    assert read_answer(phone.conn).body == b"done"
    sender.join(wire.DEADLINE)
    assert phone.backend.sent == BIG


# ---- answers and ends before their time --------------------------------------------------------------------------

def refuses_early(conn, backend):
    """413 as soon as the head is there; leaves where it is told to, else takes the rest of the body."""
    while True:
        try:
            _, fields = read_head(conn)
        except AssertionError:
            return
        conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
        if backend.answers:
            return
        backend.sent += sum(len(data) for data in body_of(conn, fields))


def test_an_answer_before_the_body_is_there(phone):
    phone = phone(server=refuses_early)
    for n in range(1, 3):
        phone.send(fields=Mail.fields(2 * MB), **Mail.keys)
        answer = read_answer(phone.conn)
        assert (answer.status, answer.body) == (413, b"no\n")
        for piece in pieces(2 * MB):
            phone.conn.sendall(piece)
        wire.poll(lambda: phone.backend.sent == 2 * MB * n, "the rest of the body")
        assert phone.request()["status"] == 413


def test_an_answer_before_the_body_and_the_end(phone):
    """The server's end is a reset, since bytes are left unread: what it had said before counts."""
    phone = phone(server=refuses_early, answers=["and leaves"])
    phone.send(fields=Mail.fields(BIG), **Mail.keys)
    phone.conn.sendall(PIECE)
    answer = read_answer(phone.conn)
    assert (answer.status, answer.body) == (413, b"no\n")
    assert phone.conn.ends() == b""
    assert phone.request()["status"] == 413


def test_an_answer_that_ends_early(phone):
    """Less than was announced: the client must not take it for the whole."""
    def server(conn, backend):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")

    phone = phone(server=server)
    phone.send(method="OPTIONS", command=None)
    _, fields = read_head(phone.conn)
    assert fields["content-length"] == "100"
    assert phone.conn.ends() == b"half of it"
    assert phone.request()["reason"] == "backend_gone"


def test_an_answer_whose_chunks_end_early(phone):
    def server(conn, backend):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n")

    phone = phone(server=server)
    phone.send(method="OPTIONS", command=None)
    read_head(phone.conn)
    assert b"0\r\n" not in phone.conn.ends()
    assert phone.request()["reason"] == "backend_gone"


def test_a_body_that_lasts_until_the_end(phone):
    """An answer of HTTP/1.0, without a length: its end is the connection's, and is told as the end of chunks."""
    def server(conn, backend):
        read_head(conn)
        conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall there is")
        conn.shutdown_write()

    phone = phone(server=server)
    phone.send(method="OPTIONS", command=None)
    answer = read_answer(phone.conn)
    assert (answer.status, answer.body, answer["Transfer-Encoding"]) == (200, b"all there is", "chunked")
    assert phone.request()["reason"] == "ok"


def test_a_server_that_resets(phone):
    def server(conn, backend):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
        backend.go.wait(wire.DEADLINE)
        conn.reset()

    phone = phone(server=server)
    phone.send(method="OPTIONS", command=None)
    read_head(phone.conn)
    assert phone.conn.recv_exact(10) == b"half of it"
    phone.backend.go.set()
    phone.conn.ends()
    assert phone.request()["reason"] == "backend_gone"


def test_a_client_that_resets_in_a_body(phone):
    ended = []

    def server(conn, backend):
        read_head(conn)
        try:
            ended.append(conn.ends())
        finally:
            backend.notes.append("over")

    phone = phone(server=server)
    phone.send(fields=Mail.fields(1000), **Mail.keys)
    phone.conn.sendall(b"half")
    wire.poll(lambda: phone.backend.accepted, "the mail server")
    phone.client.tcp.reset()
    phone.backend.wait_notes(2)
    assert ended == [b"half"]
    assert phone.request()["reason"] == "client_gone"


def test_a_client_that_only_listens_any_more(phone):
    """Its direction ended behind the request, as some libraries do: the answer comes all the same."""
    phone = phone()
    phone.send(body=FOLDER_SYNC)
    phone.conn.shutdown_write()
    assert read_answer(phone.conn).body == FOLDER_SYNC
    assert phone.conn.recv_all() == b""
    assert phone.request()["reason"] == "ok"
