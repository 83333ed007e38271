"""What the tests of issuing and operating share: a file of users, and the two ways to the ticket API. test_*.py use it
beside lab.py, which starts the gateways."""
import re
import warnings

import lab
import wire

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Debian 12's Python still has it
    import crypt

TICKETS = "/v1/tickets"
SOCKET = "stagate.sock"
PASSWORD = "p:ä ss"  # a colon, a letter beyond ASCII, a blank: all of them may stand in Basic credentials
STRING = re.compile(rf";40;{lab.AUTHORITY};[0-9A-F]{{32}}")


def sha512(password):
    return crypt.crypt(password, crypt.mksalt(crypt.METHOD_SHA512, rounds=1000))


def bcrypt(password):
    """As `htpasswd -B` writes it; of the lowest cost there is."""
    hashed = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
    return hashed.replace("$2b$", "$2y$")


def write_users(path, **hashes):
    """A new file in the place of the old one, as careful programs do."""
    new = path.with_suffix(".new")
    new.write_text("".join(f"{user}:{hashed}\n" for user, hashed in hashes.items()))
    new.rename(path)


def embedded(**keys):
    """An authority with a store whose services are on free ports of the loopback."""
    return {"id": lab.AUTHORITY, "store": "lmdb:tickets", "listen": ["http://127.0.0.1:0"],
            **{k.replace("_", "-"): v for k, v in keys.items()}}


ADMIN = {"socket": SOCKET}


def admin(gateway, method, path, body=None, **options):
    """A request to the gateway's admin socket."""
    return lab.http(method, gateway.folder / SOCKET, path, body, **options)


def ask(gateway, method, path=TICKETS, body=None, user=f"alice:{PASSWORD}", number=0, **options):
    """A request to the ticket API on the gateway's service number so and so."""
    return lab.http(method, gateway.ready["sta"][number], path, body, user, **options)


def issue(gateway, user, **wish):
    """A ticket by the admin socket: its document."""
    status, ticket = admin(gateway, "POST", TICKETS, {"user": user, **wish})
    assert status == 201, ticket
    return ticket


def fault(gateway, *args, stdin=None):
    """Runs `stagate fault -c FILE ...`."""
    return lab.stagate("fault", "-c", gateway.path, *args, stdin=stdin)


def metrics(gateway):
    """What /metrics tells: samples by name and labels, such as stagate_authority_up{authority="STA1",number="0"}."""
    status, text = admin(gateway, "GET", "/metrics")
    assert status == 200
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines() if not line.startswith("#")}


def told(gateway, ticket, target=lab.MAIL):
    """What a client is told that shows the ticket: a reason, or 200."""
    client = gateway.client()
    answer = client.connect(target, wire.basic(ticket))
    client.close()
    return answer["X-Stagate-Reason"] or answer.status
