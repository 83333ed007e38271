"""The lab's certificates: a folder made before there was an inspection CA gains it, keeps the rest, and clients
that know the lab's CA alone believe what it signs."""
import os
import pathlib
import subprocess

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "certs" / "make-certs.sh"


def run(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)


def make(folder):
    run(SCRIPT, folder, check=True)
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".crt", ".key") or p.name == "users"}


def leaf(folder, name):
    """A certificate by the inspection CA for name ("DNS:..." or "IP:..."), as a relay would show it."""
    kind, host = name.split(":", 1)
    (folder / "leaf.ext").write_text(f"basicConstraints=critical,CA:FALSE\nsubjectAltName={name}\n")
    run("openssl", "req", "-new", "-key", folder / "mail.key", "-subj", "/O=lab", "-out", folder / "leaf.csr", check=True)
    run("openssl", "x509", "-req", "-in", folder / "leaf.csr", "-CA", folder / "inspect-ca.crt", "-CAkey",
        folder / "inspect-ca.key", "-days", "2", "-extfile", folder / "leaf.ext", "-out", folder / "leaf.pem", check=True)
    return run("openssl", "verify", "-purpose", "sslserver", "-verify_ip" if kind == "IP" else "-verify_hostname", host,
               "-CAfile", folder / "ca.crt", "-untrusted", folder / "inspect-ca.crt", folder / "leaf.pem")


def test_an_old_folder_gains_the_inspection_ca(tmp_path):
    first = make(tmp_path)
    for name in ("inspect-ca.crt", "inspect-ca.key"):
        os.remove(tmp_path / name)
    second = make(tmp_path)
    assert second.keys() == first.keys()
    assert {n for n in first if first[n] != second[n]} == {"inspect-ca.crt", "inspect-ca.key"}
    assert make(tmp_path) == second
    assert (tmp_path / "inspect-ca.key").stat().st_mode & 0o777 == 0o600


def test_it_signs_for_the_lab_only(tmp_path):
    make(tmp_path)
    for name in ("DNS:mail.example.com", "DNS:example.net", "DNS:a.b.example.org", "DNS:mail.test", "DNS:localhost",
                 "IP:127.0.0.1", "IP:127.3.2.1", "IP:::1"):
        verdict = leaf(tmp_path, name)
        assert verdict.returncode == 0, (name, verdict.stderr)
    for name in ("DNS:www.example.edu", "DNS:notexample.com", "IP:10.0.0.1", "IP:::2"):
        verdict = leaf(tmp_path, name)
        assert "permitted subtree violation" in verdict.stderr, (name, verdict.stderr)
