#!/bin/bash
# A real mail server with ActiveSync on loopback: Debian's SOGo, with PostgreSQL, dovecot, memcached and nginx of its own.
#
#   sogo.sh up                            start it, and wait until it answers; prints how to reach it
#   sogo.sh mail USER SUBJECT [BODY]      deliver a mail (users: alice, bob)
#   sogo.sh status                        what runs, and where
#   sogo.sh down                          stop it, keep its logs in build/interop/sogo-log, remove everything else
#
# SOGO_PORT=9443 sets the port that mail.example.com is to be connected to, otherwise a free one; STAGATE_CERTS=FOLDER takes
# the certificates of certs/make-certs.sh from there.
#
# Nothing of the machine's own is touched: no service of init's, no file in /etc, no default port. Every daemon has a
# configuration made here and a free port on 127.0.0.1; all data is in one scratch folder under /tmp, because the daemons
# run as their own users and a checkout need not be readable to those. Called by run.sh, and by hand.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
state=${STAGATE_INTEROP:-$root/build/interop}   # sogo.env in it tells the tests and later calls what runs where
env=$state/sogo.env
certs=${STAGATE_CERTS:-$state/certs}
domain=lab.example
users="alice bob"                               # password: NAME-secret
python=/usr/bin/python3

say() { echo "sogo: $*" >&2; }
die() { say "$*"; exit 1; }

# ---- processes: each leads a session of its own, and is known by its pid and the time it was started ----

started_at() { # PID: its start time, which tells a process from a later one with the same pid
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

alive() { # NAME
    local pid at
    read -r pid at 2>/dev/null <"$LAB/run/$1" && [ -n "$at" ] && [ "$(started_at "$pid")" = "$at" ] &&
        ! grep -q '^State:.*zombie' "/proc/$pid/status" 2>/dev/null
}

start() { # NAME USER COMMAND...
    local name=$1 user=$2
    shift 2
    if [ "$user" = root ]; then
        setsid -- "$@" </dev/null >>"$LAB/log/$name.out" 2>&1 &
    else
        setsid -- setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- "$@" \
            </dev/null >>"$LAB/log/$name.out" 2>&1 &
    fi
    echo "$! $(started_at $!)" >"$LAB/run/$name"
    disown
}

# Gently, and what is left then for good. Children are noted before, since SOGo's workers and PostgreSQL's
# backends lead sessions of their own, and outlive a parent that was killed.
stop() { # NAME SIGNAL SECONDS
    local pid at child noted="" tries=$(($3 * 10))
    alive "$1" || return 0
    read -r pid at <"$LAB/run/$1"
    while read -r -d ' ' child; do noted="$noted $child/$(started_at "$child")"; done < <(
        cat /proc/"$pid"/task/*/children 2>/dev/null)
    kill -"$2" "$pid" 2>/dev/null || true
    while alive "$1" && [ $((tries -= 1)) -ge 0 ]; do sleep 0.1; done
    alive "$1" && kill -KILL "$pid" 2>/dev/null
    for child in $noted; do
        at=${child#*/} child=${child%/*}
        [ -n "$at" ] && [ "$(started_at "$child")" = "$at" ] && kill -KILL "$child" 2>/dev/null
    done
    return 0
}

await() { # NAME SECONDS WHAT COMMAND...: until the command succeeds while the daemon runs
    local name=$1 tries=$(($2 * 10)) what=$3
    shift 3
    while ! "$@" >/dev/null 2>&1; do
        if ! alive "$name" || [ $((tries -= 1)) -lt 0 ]; then
            tail -n 20 "$LAB/log/$name".* >&2
            die "$name does not $what"
        fi
        sleep 0.1
    done
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ---- the daemons ----

start_postgres() {
    local bin
    bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    install -d -m 700 -o postgres "$LAB/pg"
    setpriv --reuid postgres --regid "$(id -g postgres)" --init-groups env -C "$LAB" "$bin/initdb" -D "$LAB/pg" -U postgres \
        -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$LAB/log/postgres.initdb" 2>&1 || {
        cat "$LAB/log/postgres.initdb" >&2
        die "initdb failed"
    }
    start postgres postgres env -C "$LAB" "$bin/postgres" -D "$LAB/pg" -p "$PG_PORT" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c fsync=off -c shared_buffers=32MB -c max_connections=100
    await postgres 20 "answer" "$bin/psql" -h 127.0.0.1 -p "$PG_PORT" -U postgres -c 'select 1' postgres
    {
        echo "create role sogo login;"
        echo "create database sogo owner sogo encoding 'UTF8' template template0;"
        echo "\\connect sogo"
        echo "create table lab_users (c_uid text primary key, c_name text, c_password text, c_cn text, mail text);"
        echo "alter table lab_users owner to sogo;"
        for u in $users; do
            echo "insert into lab_users values ('$u', '$u', '$u-secret', '${u^} of the lab', '$u@$domain');"
        done
    } | "$bin/psql" -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U postgres postgres
}

start_memcached() {
    start memcached nobody memcached -l 127.0.0.1 -p "$MC_PORT" -U 0 -m 32
    await memcached 5 "listen" listening "$MC_PORT"
}

start_dovecot() {
    local u
    install -d "$LAB/dovecot" "$LAB/dovecot/run" "$LAB/dovecot/state"
    install -d -m 700 -o mail -g mail "$LAB/mail"
    for u in $users; do echo "$u:{PLAIN}$u-secret"; done >"$LAB/dovecot/passwd"
    cat >"$LAB/dovecot/dovecot.conf" <<X
base_dir = $LAB/dovecot/run
state_dir = $LAB/dovecot/state
log_path = $LAB/log/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_username_format = %Ln
mail_location = maildir:$LAB/mail/%n
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
mail_max_userip_connections = 100
postmaster_address = postmaster@$domain
passdb {
  driver = passwd-file
  args = username_format=%Ln $LAB/dovecot/passwd
}
userdb {
  driver = static
  args = uid=mail gid=mail home=$LAB/mail/%n
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Drafts {
    auto = subscribe
    special_use = \\Drafts
  }
  mailbox Sent {
    auto = subscribe
    special_use = \\Sent
  }
  mailbox Trash {
    auto = subscribe
    special_use = \\Trash
  }
}
service imap-login {
  inet_listener imap {
    port = $IMAP_PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = $LMTP_PORT
  }
}
X
    start dovecot root dovecot -F -c "$LAB/dovecot/dovecot.conf"
    await dovecot 10 "listen for IMAP" listening "$IMAP_PORT"
    await dovecot 10 "listen for LMTP" listening "$LMTP_PORT"
}

# Everything goes in as an argument: sogod reads its file from /etc/sogo/sogo.conf and nowhere else, but arguments come
# before it (each value is a property list), so that file can stay as it is.
start_sogo() {
    local db="postgresql://sogo:@127.0.0.1:$PG_PORT/sogo"
    install -d -m 700 -o sogo "$LAB/sogo"
    touch "$LAB/log/sogo.log"
    chown sogo "$LAB/log/sogo.log"
    local options=(
        -WONoDetach YES
        -WOPort "\"127.0.0.1:$WO_PORT\""
        -WOPidFile "$LAB/sogo/sogod.pid"
        -WOLogFile "$LAB/log/sogo.log"
        -WOWorkersCount 6                  # one is taken by each Ping while it waits
        -WOWatchDogRequestTimeout 62       # minutes: longer than the longest Ping
        -SxVMemLimit 512
        -SOGoProfileURL "\"$db/sogo_user_profile\""
        -OCSFolderInfoURL "\"$db/sogo_folder_info\""
        -OCSSessionsFolderURL "\"$db/sogo_sessions_folder\""
        -OCSEMailAlarmsFolderURL "\"$db/sogo_alarms_folder\""
        -OCSStoreURL "\"$db/sogo_store\""
        -OCSAclURL "\"$db/sogo_acl\""
        -OCSCacheFolderURL "\"$db/sogo_cache_folder\""
        -OCSAdminURL "\"$db/sogo_admin\""
        -SOGoUserSources "({type = sql; id = lab; displayName = Lab; viewURL = \"$db/lab_users\"; canAuthenticate = YES;
                            isAddressBook = YES; userPasswordAlgorithm = plain;})"
        -SOGoMemcachedHost "\"127.0.0.1:$MC_PORT\""
        -SOGoIMAPServer "\"imap://127.0.0.1:$IMAP_PORT\""
        -SOGoMailingMechanism smtp         # nothing is sent from here
        -SOGoSMTPServer "\"smtp://127.0.0.1:9\""
        -SOGoMailDomain "$domain"
        -SOGoLanguage English
        -SOGoTimeZone UTC
        -SOGoSentFolderName Sent
        -SOGoTrashFolderName Trash
        -SOGoDraftsFolderName Drafts
        -SOGoMaximumPingInterval 3540
        -SOGoMaximumSyncInterval 3540
        -SOGoInternalSyncInterval 5        # the step of a waiting Ping; below 5 it miscounts the heartbeat
    )
    start sogo sogo env -C "$LAB/sogo" HOME="$LAB/sogo" LANG=C.UTF-8 /usr/sbin/sogod "${options[@]}"
    await sogo 40 "answer" curl -fs -o /dev/null "http://127.0.0.1:$WO_PORT/SOGo/"
}

start_nginx() {
    "$root/certs/make-certs.sh" "$certs"
    install -d "$LAB/nginx" "$LAB/www"
    install -m 600 "$certs/mail.key" "$LAB/nginx/mail.key"
    install -m 644 "$certs/mail.crt" "$LAB/nginx/mail.crt"
    head -c $((24 << 20)) /dev/urandom >"$LAB/www/bulk.bin"   # something long, to be compared byte for byte
    cat >"$LAB/nginx/nginx.conf" <<X
daemon off;
worker_processes 1;
pid $LAB/nginx/nginx.pid;
error_log $LAB/log/nginx.log;
events { worker_connections 512; }
http {
  access_log $LAB/log/nginx-access.log;
  client_body_temp_path $LAB/nginx/body;
  proxy_temp_path $LAB/nginx/proxy;
  fastcgi_temp_path $LAB/nginx/fastcgi;
  uwsgi_temp_path $LAB/nginx/uwsgi;
  scgi_temp_path $LAB/nginx/scgi;
  client_max_body_size 64m;
  proxy_buffer_size 64k;                               # SOGo's cookies at a web sign-in need more than the default
  proxy_buffers 16 64k;
  server {
    listen 127.0.0.1:$TLS_PORT ssl;
    server_name mail.example.com;
    ssl_certificate $LAB/nginx/mail.crt;
    ssl_certificate_key $LAB/nginx/mail.key;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;       # old ones too: refusing them is the gateway's part here
    ssl_ciphers DEFAULT:@SECLEVEL=0;
    proxy_http_version 1.1;
    proxy_set_header Host mail.example.com;
    proxy_set_header X-Forwarded-For \$remote_addr;
    proxy_set_header x-webobjects-server-protocol HTTP/1.0;
    proxy_set_header x-webobjects-remote-host \$remote_addr;
    proxy_set_header x-webobjects-server-name mail.example.com;
    proxy_set_header x-webobjects-server-url https://mail.example.com;
    proxy_set_header x-webobjects-server-port 443;
    location = /Microsoft-Server-ActiveSync {
      proxy_pass http://127.0.0.1:$WO_PORT/SOGo/Microsoft-Server-ActiveSync;
      proxy_read_timeout 3650s;                        # a Ping may be silent for 3540 s
      proxy_send_timeout 3650s;
      proxy_next_upstream off;                         # a command is not to be sent twice
    }
    location /SOGo {
      proxy_pass http://127.0.0.1:$WO_PORT;
      proxy_read_timeout 60s;
    }
    location /SOGo.woa/WebServerResources/ { alias /usr/lib/GNUstep/SOGo/WebServerResources/; include /etc/nginx/mime.types; }
    location /SOGo/WebServerResources/ { alias /usr/lib/GNUstep/SOGo/WebServerResources/; include /etc/nginx/mime.types; }
    location /bulk/ { alias $LAB/www/; }
  }
}
X
    start nginx root nginx -e "$LAB/log/nginx.log" -p "$LAB/nginx" -c "$LAB/nginx/nginx.conf"
    await nginx 10 "listen" listening "$TLS_PORT"
}

# Until a client that knows CONDSTORE has opened a mailbox, dovecot leaves HIGHESTMODSEQ out of its answers; SOGo then
# stays at SyncKey "-1" for ever: every Sync comes back empty and no Ping ever wakes.
enable_modseq() { # USER
    "$python" - "$IMAP_PORT" "$1" "$1-secret" <<'X'
import imaplib
import sys

port, user, password = sys.argv[1:]
imap = imaplib.IMAP4("127.0.0.1", int(port), timeout=10)
imap.login(user, password)
imap.enable("QRESYNC")
for folder in imap.list()[1]:
    status, text = imap.select(folder.decode().rpartition('"/" ')[2])
    assert status == "OK", text
imap.logout()
X
}

deliver() { # USER SUBJECT [BODY]
    "$python" - "$LMTP_PORT" "$domain" "$1" "$2" "${3:-$2}" <<'X'
import email.message
import email.utils
import smtplib
import sys

port, domain, user, subject, body = sys.argv[1:]
mail = email.message.EmailMessage()
mail["From"] = f"carol@{domain}"
mail["To"] = f"{user}@{domain}"
mail["Subject"] = subject
mail["Date"] = email.utils.formatdate()
mail["Message-ID"] = email.utils.make_msgid(domain=domain)
mail.set_content(body)
with smtplib.LMTP("127.0.0.1", int(port), timeout=10) as lmtp:
    lmtp.send_message(mail)
X
}

# ---- commands ----

daemons="nginx sogo dovecot memcached postgres"

load() {
    [ -s "$env" ] || return 1
    # shellcheck source=/dev/null
    . "$env"
    [ -d "${LAB:-}" ]
}

need_root() {
    [ "$(id -u)" = 0 ] || die "this needs root, since each daemon runs as its own user: try again with sudo"
}

down() {
    load || return 0
    stop nginx TERM 5
    stop sogo TERM 1   # it often does not care; nothing of it is kept
    stop dovecot TERM 5
    stop memcached TERM 5
    stop postgres INT 10
    rm -rf "$state/sogo-log"
    cp -r "$LAB/log" "$state/sogo-log" 2>/dev/null || true
    case $LAB in
        /tmp/stagate-sogo.?*) rm -rf "$LAB" ;;
    esac
    rm -f "$env"
}

up() {
    local d ports
    for d in psql memcached dovecot nginx curl setpriv; do
        command -v "$d" >/dev/null || die "$d is not installed: make deps-interop"
    done
    [ -x /usr/sbin/sogod ] || die "sogo is not installed: make deps-interop"
    down
    [ -z "${SOGO_PORT:-}" ] || ! listening "$SOGO_PORT" || die "port $SOGO_PORT is in use"
    mkdir -p "$state"
    LAB=$(mktemp -d /tmp/stagate-sogo.XXXXXX)
    chmod 755 "$LAB"
    install -d "$LAB/log" "$LAB/run"
    ports=$("$python" -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*(s.getsockname()[1] for s in held))')
    read -r TLS_PORT WO_PORT IMAP_PORT LMTP_PORT PG_PORT MC_PORT <<<"$ports"
    TLS_PORT=${SOGO_PORT:-$TLS_PORT}
    for d in LAB TLS_PORT WO_PORT IMAP_PORT LMTP_PORT PG_PORT MC_PORT; do echo "$d=${!d}"; done >"$env"
    trap 'down; exit 1' EXIT INT TERM HUP
    start_postgres
    start_memcached
    start_dovecot
    start_sogo
    start_nginx
    for d in $users; do enable_modseq "$d"; done
    deliver alice "Welcome to the lab"
    trap - EXIT INT TERM HUP
    status
}

status() {
    local d missing=0
    load || die "down"
    for d in $daemons; do
        if alive "$d"; then
            echo "$d: runs, process $(cut -d' ' -f1 "$LAB/run/$d")"
        else
            echo "$d: is down"
            missing=1
        fi
    done
    echo "ActiveSync: https://127.0.0.1:$TLS_PORT/Microsoft-Server-ActiveSync (mail.example.com in its certificate)"
    echo "users: alice, bob; password: NAME-secret"
    echo "data and logs: $LAB"
    return $missing
}

umask 022
case ${1:-} in
    up)
        need_root
        up
        ;;
    down)
        need_root
        down
        ;;
    status) status ;;
    mail)
        [ $# -ge 3 ] || die "usage: sogo.sh mail USER SUBJECT [BODY]"
        load || die "it does not run: sogo.sh up"
        shift
        deliver "$@"
        ;;
    *)
        sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
