"""Mail servers for tests: each listens on a free loopback port and serves every connection in a thread.

A handler is a function (conn, backend) with conn a wire.Conn; plain or TLS is the backend's business. What a
handler wants to tell the test goes into backend.got (bytes received), backend.sent, or backend.notes.
"""
import socket
import ssl
import threading

import wire


class Backend:
    def __init__(self, handler, context=None, family=socket.AF_INET, host=None):
        self.handler = handler
        self.context = context
        self.got = b""
        self.sent = 0
        self.notes = []
        self.go = threading.Event()  # for handlers that wait for the test's word
        self.accepted = []
        self._threads = []
        host = host or ("::1" if family == socket.AF_INET6 else "127.0.0.1")
        self._sock = socket.create_server((host, 0), family=family, backlog=128)
        self.port = self._sock.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self):
        host = self._sock.getsockname()[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def _accept(self):
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as mail servers do
            tcp = wire.Tcp(sock)
            self.accepted.append(tcp)
            thread = threading.Thread(target=self._serve, args=(tcp,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, tcp):
        try:
            conn = tcp
            if self.context is not None:
                conn = wire.Tls(tcp, self.context, server_side=True).handshake()
                self.notes.append(conn.ssl.version())
            self.handler(conn, self)
        except ssl.SSLError as error:
            self.notes.append(error.reason)
        except (OSError, AssertionError) as error:
            self.notes.append(type(error).__name__)
        finally:
            tcp.close()

    def wait_notes(self, count=1):
        wire.poll(lambda: len(self.notes) >= count, f"{count} notes of the backend, there are {self.notes}")
        return self.notes

    def close(self):
        self.go.set()
        # shutdown wakes the accept; closing alone would leave it asleep
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._acceptor.join(wire.DEADLINE)
        self._sock.close()
        for tcp in self.accepted:
            try:
                tcp.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(wire.DEADLINE)
            assert not thread.is_alive(), "a backend's thread hangs"


# ---- handlers ----------------------------------------------------------------------------------------------

def echo(conn, backend):
    """Sends back what comes, and ends when the client has ended."""
    while True:
        data = conn.recv()
        if not data:
            break
        backend.got += data
        conn.sendall(data)
    backend.notes.append("eof")
    conn.shutdown_write()


def source(data):
    """Sends data, ends its direction, and reads until the client ends."""
    def handler(conn, backend):
        view = memoryview(data)
        while len(view) > 0:
            conn.sendall(view[:65536])
            backend.sent += len(view[:65536])
            view = view[65536:]
        conn.shutdown_write()
        backend.got += conn.recv_all()
        backend.notes.append("eof")
    return handler


def sink(conn, backend):
    """Takes all there is, then says how much it was."""
    data = conn.recv_all()
    backend.got += data
    conn.sendall(b"%d bytes" % len(data))
    conn.shutdown_write()
    backend.notes.append("eof")


def says(data, then=None):
    """Says something at once, and does no more until the client ends or the test says go."""
    def handler(conn, backend):
        conn.sendall(data)
        if then is not None:
            backend.go.wait(wire.DEADLINE)
            then(conn)
        backend.got += conn.recv_all()
        backend.notes.append("eof")
        conn.shutdown_write()
    return handler


def resets_after(count):
    """Reads count bytes, and resets the connection."""
    def handler(conn, backend):
        backend.got += conn.recv_exact(count)
        conn.reset()
        backend.notes.append("reset")
    return handler


def collects(conn, backend):
    """Reads to the end, byte for byte as it comes, answering nothing: for what the gateway sends to backends."""
    try:
        while True:
            data = conn.recv()
            if not data:
                backend.notes.append("eof")
                return
            backend.got += data
    except ConnectionResetError:
        backend.notes.append("reset")
        raise
