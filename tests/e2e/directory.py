"""A real slapd for tests of signing in: own folder, a free port of the loopback, in the foreground."""
import contextlib
import pathlib
import socket
import subprocess

import wire

SLAPD, SLAPADD = "/usr/sbin/slapd", "/usr/sbin/slapadd"
BASE = "dc=lab"
READER, READER_PASSWORD = f"cn=reader,{BASE}", "the reader's secret"

# Who signs in is not who the ticket is for: signing in goes by uid, the directory knows people by employeeNumber
PEOPLE = {  # uid: (cn, employeeNumber, password)
    "u1001": ("Anna Meier", "ameier", "annas secret"),
    "u1002": ("Bert (guest)", "bguest", "berts secret"),
    "ü(*)": ("Odd One", "odd", "odd secret"),
}
STAFF = ["u1001", "ü(*)"]

CONFIG = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
database mdb
maxsize 10485760
suffix {base}
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact={reader} read by anonymous auth by self read
"""


def entries():
    yield f"dn: {BASE}\nobjectClass: domain\ndc: lab\n"
    yield f"dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n" \
          f"userPassword: {READER_PASSWORD}\n"
    for number, (uid, (cn, name, password)) in enumerate(PEOPLE.items()):
        yield f"dn: employeeNumber={name},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {cn}\nsn: {number}\n" \
              f"employeeNumber: {name}\nuserPassword: {password}\n"
    members = "".join(f"member: employeeNumber={PEOPLE[uid][1]},{BASE}\n" for uid in STAFF)
    yield f"dn: cn=staff,{BASE}\nobjectClass: groupOfNames\ncn: staff\n{members}"


class Directory:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "db").mkdir(parents=True)
        (self.folder / "slapd.conf").write_text(CONFIG.format(folder=self.folder, base=BASE, reader=READER))
        (self.folder / "people.ldif").write_text("\n".join(entries()))
        subprocess.run([SLAPADD, "-f", self.folder / "slapd.conf", "-l", self.folder / "people.ldif"], check=True,
                       capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen([SLAPD, "-f", self.folder / "slapd.conf", "-h", self.url, "-d", "0"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            assert self.process.poll() is None, "slapd ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False
        wire.poll(answers, "slapd")

    def kill(self):
        self.process.kill()
        self.process.wait(wire.DEADLINE)
