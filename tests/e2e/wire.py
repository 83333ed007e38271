"""What a test client has on the wire: byte connections that stack (TCP, TLS on it, TLS in that), the two doors'
requests, and TLS hellos made by hand.

Tests and backends use it; it knows nothing of gateways or configuration. Every wait ends at DEADLINE.
"""
import base64
import select
import socket
import ssl
import struct
import threading
import time

DEADLINE = 30.0  # seconds for anything that must happen; generous, since sanitizer builds run the same tests


def poll(condition, what, deadline=DEADLINE):
    """Calls condition until it is true, and returns what it returned."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {deadline:g} s in vain: {what}"
        time.sleep(0.005)


class Conn:
    """Bytes both ways. recv() gives b"" at the end; a reset is ConnectionResetError."""

    def __init__(self):
        self._unread = b""

    def sendall(self, data):
        raise NotImplementedError

    def _recv(self, n):
        raise NotImplementedError

    def shutdown_write(self):
        """Ends our direction; the other one stays open."""
        raise NotImplementedError

    def recv(self, n=65536):
        if self._unread:
            data, self._unread = self._unread[:n], self._unread[n:]
            return data
        return self._recv(n)

    def unread(self, data):
        self._unread = data + self._unread

    def recv_exact(self, n):
        data = b""
        while len(data) < n:
            more = self.recv(n - len(data))
            assert more, f"the connection ended after {len(data)} of {n} bytes: {data[:200]!r}"
            data += more
        return data

    def recv_until(self, mark):
        """Up to and including mark; what follows is kept for the next recv."""
        data = b""
        while mark not in data:
            more = self.recv()
            assert more, f"the connection ended before {mark!r}: {data[:500]!r}"
            data += more
        end = data.index(mark) + len(mark)
        self.unread(data[end:])
        return data[:end]

    def recv_all(self):
        parts = []
        while True:
            more = self.recv()
            if not more:
                return b"".join(parts)
            parts.append(more)

    def ends(self):
        """Reads on to the end, by end-of-file or by reset, and returns what came before it."""
        data = b""
        try:
            while True:
                more = self.recv()
                if not more:
                    return data
                data += more
        except ConnectionResetError:
            return data


class Tcp(Conn):
    def __init__(self, sock):
        super().__init__()
        self.sock = sock
        sock.settimeout(DEADLINE)

    dialled = 0

    @classmethod
    def dial(cls, address, receive_buffer=None):
        """Connects. By IPv4 each time from another loopback address, so that whoever sees it knows which it was:
        ports come again."""
        cls.dialled += 1
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if sock.family == socket.AF_INET:
            sock.bind((f"127.{100 + cls.dialled // 62500}.{cls.dialled // 250 % 250}.{cls.dialled % 250 + 1}", 0))
        if receive_buffer is not None:  # before connecting: it decides the window
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(DEADLINE)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def sendall(self, data):
        self.sock.sendall(data)

    def _recv(self, n):
        return self.sock.recv(n)

    def shutdown_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Ends the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.sock.close()

    def readable(self, seconds=0.0):
        return bool(self._unread) or bool(select.select([self.sock], [], [], seconds)[0])


class Tls(Conn):
    """TLS on any Conn, by MemoryBIO, so that TLS runs in TLS and half-closing works as it does in C programs.

    One thread may send while another receives.
    """

    def __init__(self, below, context, server_hostname=None, server_side=False, session=None):
        super().__init__()
        self.below = below
        self.clean = None  # whether the peer ended with close_notify; None while it has not ended
        self._below_ended = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._lock, self._send_lock = threading.Lock(), threading.Lock()
        self.ssl = context.wrap_bio(self._in, self._out, server_side=server_side,
                                    server_hostname=server_hostname, session=session)

    def _flush(self, wait=True):
        """Sends what the SSL object has produced. Whoever reads does not wait for a sender that is held up: the
        sender takes it along when it goes on."""
        while self._out.pending and self._send_lock.acquire(blocking=wait):
            try:
                with self._lock:
                    data = self._out.read()
                self.below.sendall(data)
            finally:
                self._send_lock.release()

    def _fill(self):
        data = self.below.recv()
        with self._lock:
            if data:
                self._in.write(data)
            else:
                self._below_ended = True
                self._in.write_eof()

    def _run(self, operation):
        """Runs an operation of the SSL object, feeding it until it can be done."""
        while True:
            try:
                with self._lock:
                    return operation()
            except ssl.SSLWantReadError:
                self._flush(wait=False)
                self._fill()
            finally:
                try:
                    self._flush(wait=False)
                except OSError:
                    pass  # reading tells what became of the connection

    def handshake(self):
        self._run(self.ssl.do_handshake)
        return self

    def sendall(self, data):
        view = memoryview(data)
        while len(view) > 0:
            with self._lock:
                n = self.ssl.write(view[:65536])
            view = view[n:]
            self._flush()

    def _recv(self, n):
        try:
            data = self._run(lambda: self.ssl.read(n))
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLEOFError:
            self.clean = False
            return b""
        if not data:
            self.clean = True
        return data

    def shutdown_write(self):
        with self._lock:
            # unwrap() goes on to read the peer's close_notify, and breaks on data in front of it: it gets none
            unread = b"" if self._below_ended else self._in.read()
            try:
                self.ssl.unwrap()
            except (ssl.SSLWantReadError, ssl.SSLError):
                pass  # our close_notify is out
            if unread:
                self._in.write(unread)
        self._flush()

    def close(self):
        self.below.close()

    def reset(self):
        self.below.reset()


# ---- TLS contexts ------------------------------------------------------------------------------------------

VERSIONS = {"tls1.0": ssl.TLSVersion.TLSv1, "tls1.1": ssl.TLSVersion.TLSv1_1,
            "tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}


def set_versions(context, lowest, highest):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.0 and 1.1: they are what is tested
        context.minimum_version = VERSIONS[lowest]
        context.maximum_version = VERSIONS[highest]
    if lowest in ("tls1.0", "tls1.1"):
        context.set_ciphers("ALL:@SECLEVEL=0")


def client_context(ca=None, lowest="tls1.2", highest="tls1.3", alpn=None):
    """A client's context: verifying with ca, or trusting anybody without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    set_versions(context, lowest, highest)
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


def server_context(certificate, key, lowest="tls1.2", highest="tls1.3"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_versions(context, lowest, highest)
    context.load_cert_chain(certificate, key)
    return context


# ---- the doors ---------------------------------------------------------------------------------------------

def basic(ticket, user="user"):
    return "Basic " + base64.b64encode(f"{user}:{ticket}".encode()).decode()


def bearer(ticket):
    return "Bearer " + ticket


def connect_head(target, authorization=None, fields=(), version="HTTP/1.1", host=None):
    """A CONNECT request's head. host: "" leaves the Host field out."""
    lines = [f"CONNECT {target} {version}"]
    if host != "":
        lines.append(f"Host: {host or target}")
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    lines.extend(fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Answer:
    """An HTTP answer's head, and the body where a length is given."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.version, status, self.text = lines[0].split(" ", 2)
        self.status = int(status)
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
        self.body = body.decode()

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    def __repr__(self):
        return f"<{self.status} {self.text} {self.fields} {self.body!r}>"


def read_answer(conn):
    head = conn.recv_until(b"\r\n\r\n")
    answer = Answer(head[:-4], b"")
    if answer["Content-Length"] is not None:
        answer.body = conn.recv_exact(int(answer["Content-Length"])).decode()
    return answer


SOCKS_GREETING = b"\x05\x01\x00"
SOCKS_LOGIN_GREETING = b"\x05\x02\x00\x02"
SOCKS_REPLY_BYTES = 10


def socks_request(host, port=1494, command=1):
    """host: str for a name, bytes for a name as it is, ("4"|"6", text) for an address."""
    if isinstance(host, tuple):
        family = socket.AF_INET if host[0] == "4" else socket.AF_INET6
        address = bytes([1 if host[0] == "4" else 4]) + socket.inet_pton(family, host[1])
    else:
        name = host.encode() if isinstance(host, str) else host
        address = bytes([3, len(name)]) + name
    return bytes([5, command, 0]) + address + struct.pack(">H", port)


def socks_login(password, user="user"):
    u, p = user.encode(), password.encode()
    return bytes([1, len(u)]) + u + bytes([len(p)]) + p


# ---- TLS by hand -------------------------------------------------------------------------------------------

HANDSHAKE, ALERT = 22, 21


def record(kind, payload, version=0x0301):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def client_hello(version, supported=None, sni=None, record_version=0x0301, length=None):
    """A ClientHello record. version: legacy_version; supported: versions of the supported_versions extension."""
    extensions = b""
    if sni is not None:
        name = sni.encode()
        entry = struct.pack(">BH", 0, len(name)) + name
        extensions += struct.pack(">HHH", 0, len(entry) + 2, len(entry)) + entry
    if supported is not None:
        versions = b"".join(struct.pack(">H", v) for v in supported)
        extensions += struct.pack(">HHB", 43, len(versions) + 1, len(versions)) + versions
    body = struct.pack(">H", version) + b"\x11" * 32 + b"\0"
    body += struct.pack(">H", 6) + b"\x00\x2f\x00\x35\xc0\x13" + b"\x01\x00"
    if version > 0x0300:
        body += struct.pack(">H", len(extensions)) + extensions
    if length is not None:
        body += b"\0" * (length - len(body))
    return record(HANDSHAKE, b"\x01" + len(body).to_bytes(3, "big") + body, record_version)


def first_flight(context, server_hostname=None):
    """What a real client sends first: its ClientHello's record."""
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_hostname)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("a handshake without a server")


def sslv2_hello(version):
    """An SSLv2-format ClientHello (RFC 5246 E.2); version 0x0002 is a pure SSLv2 one."""
    ciphers = b"\x01\x00\x80\x07\x00\xc0\x00\x00\x2f"
    body = b"\x01" + struct.pack(">HHHH", version, len(ciphers), 0, 16) + ciphers + b"\x22" * 16
    return struct.pack(">H", 0x8000 | len(body)) + body


def fragment_records(flight, size):
    """The same records' payloads in records of at most size bytes."""
    out = b""
    while flight:
        kind, version, length = struct.unpack(">BHH", flight[:5])
        payload, flight = flight[5:5 + length], flight[5 + length:]
        for i in range(0, len(payload), size):
            out += record(kind, payload[i:i + size], version)
    return out


def alert_of(data):
    """(level, description, record version) of a record that is an alert, else an assertion."""
    assert len(data) == 7 and data[0] == ALERT, f"not an alert record: {data[:40]!r}"
    return data[5], data[6], struct.unpack(">H", data[1:3])[0]
