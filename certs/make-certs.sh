#!/bin/sh
# Makes the lab's CA and certificates in the folder given: ca, gateway (ECDSA and RSA), mail, mail-expired (whose time was over
# yesterday), sta (an authority), issuer (a client certificate), inspect-ca (signs what a relay shows that ends inner TLS; for names of the lab only), and users (htpasswd: alice and
# bob, whose passwords are their names and "-in-the-lab"). Keys are mode 0600 and never committed.
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

sign() { # NAME SUBJECT: by the lab's CA, with the extensions in NAME.ext
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "${days:-390}" -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
    chmod 644 "$1.crt"
}

leaf() { # NAME ec|rsa COMMON-NAME SUBJECT-ALT-NAMES [serverAuth|clientAuth]
    [ -s "$1.crt" ] && return 0
    key "$1" "$2"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature%s\nextendedKeyUsage=%s\nsubjectAltName=%s\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' \
        "$([ "$2" = rsa ] && echo ,keyEncipherment)" "${5:-serverAuth}" "$4" >"$1.ext"
    sign "$1" "/O=stagate lab/CN=$3"
}

signer() { # NAME COMMON-NAME NAME-CONSTRAINTS: a CA below the lab's, for leaves only
    [ -s "$1.crt" ] && return 0
    key "$1" ec
    printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nnameConstraints=critical,%s\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' \
        "$3" >"$1.ext"
    sign "$1" "/O=stagate lab/CN=$2"
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
(days=-1 && leaf mail-expired ec mail.example.com "DNS:mail.example.com,DNS:localhost,IP:127.0.0.1,IP:::1")
leaf sta ec sta.example.com "DNS:sta.example.com,DNS:localhost,IP:127.0.0.1,IP:::1"
leaf issuer ec issuer.example.com "DNS:issuer.example.com" clientAuth
signer inspect-ca "stagate lab inspection CA" "permitted;DNS:example.com,permitted;DNS:example.net,permitted;DNS:example.org,permitted;DNS:test,permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0,permitted;IP:::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
if [ ! -s users ]; then
    for user in alice bob; do
        printf '%s:' "$user"
        openssl passwd -6 "$user-in-the-lab"
    done >users.new
    mv users.new users
fi
touch ca.crt
