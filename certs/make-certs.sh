#!/bin/sh
# Makes the lab's CA and certificates in the folder given: ca, gateway (ECDSA and RSA), mail. Keys are mode 0600 and never committed.
# Runs again only where something is missing; remove the folder for new ones.
set -eu
dir=${1:?usage: make-certs.sh FOLDER}
mkdir -p "$dir"
cd "$dir"
umask 077

key() { # NAME ec|rsa
    [ -s "$1.key" ] && return 0
    if [ "$2" = ec ]; then
        openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
    else
        openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key"
    fi
}

leaf() { # NAME ec|rsa COMMON-NAME SUBJECT-ALT-NAMES
    [ -s "$1.crt" ] && return 0
    key "$1" "$2"
    openssl req -new -key "$1.key" -subj "/O=stagate lab/CN=$3" -out "$1.csr"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature%s\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' \
        "$([ "$2" = rsa ] && echo ,keyEncipherment)" "$4" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 390 -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
    chmod 644 "$1.crt"
}

if [ ! -s ca.crt ]; then
    key ca ec
    openssl req -x509 -new -key ca.key -sha256 -days 1825 -subj "/O=stagate lab/CN=stagate lab CA" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:1" -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.new
    rm -f ./*.crt
    mv ca.new ca.crt
    chmod 644 ca.crt
fi
gateway="DNS:gateway.example.com,DNS:gateway3.example.com,DNS:localhost,IP:127.0.0.1,IP:::1"
leaf gateway ec gateway.example.com "$gateway"
leaf gateway-rsa rsa gateway.example.com "$gateway"
leaf mail ec mail.example.com "DNS:mail.example.com,DNS:*.example.com,DNS:localhost,IP:127.0.0.1,IP:::1"
touch ca.crt
