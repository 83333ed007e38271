/* Configurations of authorities, sign-in, the admin socket and the clock: every mistake with its place and
 * its sentence, nothing where there is none. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert_fixture.h"
#include "base/mem.h"
#include "gate/settings.h"
#include "sta/record.h"
#include "sta/signin.h"

static char folder[64];
static char config[96];

static void write_file(const char *name, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* A certificate and its key in one file. */
static void write_pair(const char *name)
{
    struct cert_fixture c;
    char text[8192] = "", *paths[] = {c.certificate, c.key};
    cert_fixture_make(&c);
    for (size_t i = 0, len = 0; i < 2; i++) {
        FILE *f = fopen(paths[i], "r");
        ck_assert_ptr_nonnull(f);
        len += fread(text + len, 1, sizeof text - 1 - len, f);
        fclose(f);
    }
    cert_fixture_remove(&c);
    write_file(name, text);
}

static void setup(void)
{
    strcpy(folder, "/tmp/stagate-settings-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(config, sizeof config, "%s/sta.yaml", folder);
    write_pair("there"); /* a file that most keys may name */
    write_file("users", "anna:$6$salt$wpFdPQrpqQPxC3WqLRrpfsFkoThEcKlkwhwWHuLFtRDeyrM.Mqi/"
                        "VOkB7AsoNuDlUJmcLdWMyF4xJXKNR2vqR/\n");
}

static void teardown(void)
{
    char path[96];
    unlink(config);
    snprintf(path, sizeof path, "%s/there", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/users", folder);
    unlink(path);
    rmdir(folder);
}

static char *replaced(char *text, const char *part, const char *by)
{
    char *at;
    while ((at = strstr(text, part)) != NULL) {
        char *whole = mem_printf("%.*s%s%s", (int)(at - text), text, by, at + strlen(part));
        free(text);
        text = whole;
    }
    return text;
}

/* All complaints, without the file's name, the folder as DIR; owned. */
static char *complaints(const struct settings *s)
{
    char *text = NULL, prefix[112];
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int errors = conf_print(s->conf, f);
    fclose(f);
    ck_assert((errors == 0) == settings_ok(s));
    snprintf(prefix, sizeof prefix, "%s:", config);
    return replaced(replaced(text, prefix, ""), folder, "DIR");
}

static struct settings *read_text(const char *text, bool strict)
{
    write_file("sta.yaml", text);
    return settings_read(config, strict);
}

static struct settings *read_good(const char *text)
{
    struct settings *s = read_text(text, true);
    char *said = complaints(s);
    ck_assert_msg(settings_ok(s), "%s\n%s", text, said);
    free(said);
    return s;
}

/* ---- mistakes ---- */

#define LISTENER                                                                                             \
    "listeners:\n  - address: 127.0.0.1:0\n    certificate: there\n    key: there\n" /* lines 1 to 4 */
#define REMOTE "authorities:\n  - url: http://127.0.0.1:8080\n"                      /* 5 and 6 */
#define EMBEDDED                                                                                             \
    "authorities:\n  - id: STA01\n    store: memory\n    listen: http://127.0.0.1:0\n" /* 1 to 4 */
#define SIGN_IN EMBEDDED "sign-in:\n"                                                  /* 5 */
#define LDAP                                                                                                 \
    SIGN_IN "  ldap:\n    url: ldaps://ldap.example.com\n    base: dc=example,dc=com\n" /* 6 to 8            \
                                                                                         */
#define NOTHING                                                                                              \
    "1:1: warning: background-network-services is empty: no client can reach anything through this "         \
    "gateway\n"

static const struct {
    const char *text;
    const char *complaints;
} cases[] = {
    {EMBEDDED, ""},
    {LISTENER REMOTE, NOTHING},
    {"authorities:\n  - id: STA01\n",
     "1:1: the key \"listeners\" is missing, and no authority listens: there is nothing to serve\n2:9: "
     "authorities: the key \"store\" is missing, or \"url\" for an authority elsewhere\n"},
    {LISTENER "authorities:\n  - id: STA01\n    store: memory\n    url: http://127.0.0.1:1\n",
     "8:10: url: an authority has a store or a url, not both\n"},
    {"authorities:\n  - store: memory\n    listen: http://127.0.0.1:0\n",
     "2:5: authorities: the key \"id\" is missing\n"},
    {LISTENER REMOTE "    learn-id: no\n", "7:15: learn-id: without it, id has to be there\n"},
    {LISTENER "authorities:\n  - url: http://127.0.0.1:1\n    id: STA01\n    learn-id: no\n", NOTHING},
    {LISTENER "authorities:\n  - url: ftp://127.0.0.1:1\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - id: STA-1\n    store: memory\n",
     "6:9: id: \"STA-1\": an authority's ID is 1 to 16 letters and digits, such as STA0A1B2C3D4E5F\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n",
     "1:1: the key \"listeners\" is missing, and no authority listens: there is nothing to serve\n"},
    {"listeners: []\nauthorities:\n  - id: STA01\n    store: memory\n",
     "1:12: listeners: needs at least one item, as no authority listens\n"},
    {EMBEDDED "    ca: there\n", "5:9: ca: belongs to an authority with url, and this one has store\n"},
    {EMBEDDED "    learn-id: yes\n",
     "5:15: learn-id: belongs to an authority with url, and this one has store\n"},
    {EMBEDDED "    probe: 30s\n", "5:12: probe: belongs to an authority with url, and this one has store\n"},
    {EMBEDDED "    bypass: 10s\n",
     "5:13: bypass: belongs to an authority with url, and this one has store\n"},
    {EMBEDDED "    connections: 8\n",
     "5:18: connections: belongs to an authority with url, and this one has store\n"},
    {EMBEDDED "    cache: 0s\n", "5:12: cache: belongs to an authority with url, and this one has store\n"},
    {LISTENER REMOTE "    password-file: there\n",
     "7:20: password-file: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    keep-ended: 24h\n",
     "7:17: keep-ended: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    session-lifetime: 100s\n",
     "7:23: session-lifetime: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    refreshable-lifetime: 500s\n",
     "7:27: refreshable-lifetime: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    requested-class: session\n",
     "7:22: requested-class: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    listen: http://127.0.0.1:0\n",
     "7:13: listen: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    ssl-only: no\n",
     "7:15: ssl-only: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    allow: 127.0.0.1\n",
     "7:12: allow: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    hosts: localhost\n",
     "7:12: hosts: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    client-ca: there\n",
     "7:16: client-ca: belongs to an authority with store, and this one has url\n"},
    {EMBEDDED "    password-file: there\n", "5:20: password-file: belongs to store: redis://HOST:PORT\n"},
    {"authorities:\n  - id: STA01\n    store: redis://127.0.0.1:6379\n    listen: http://127.0.0.1:0\n", ""},
    {"authorities:\n  - id: STA01\n    store: redis://:secret@127.0.0.1:6379\n    listen: "
     "http://127.0.0.1:0\n",
     "3:12: store: the value: a password does not belong in the URL: write it into a file, and name that in "
     "password-file\n"},
    {"authorities:\n  - id: STA01\n    store: \"redis:127.0.0.1\"\n    listen: http://127.0.0.1:0\n",
     "3:12: store: the value: a store is lmdb:PATH (survives restarts), memory (lost when the gateway ends) "
     "or redis://HOST:PORT (shared by a fleet)\n"},
    {"authorities:\n  - id: STA01\n    store: redis://127.0.0.1:6379\n    listen: http://127.0.0.1:0\n    "
     "password-file: missing\n",
     "5:20: warning: DIR/missing cannot be read: No such file or directory\n"},
    {"authorities:\n  - id: STA01\n    store: lmdb:a\n    listen: http://127.0.0.1:0\n  - id: STA02\n    "
     "store: lmdb:a\n",
     "6:12: store: an earlier authority keeps its tickets there\n"},
    {EMBEDDED "  - id: STA01\n    store: memory\n",
     "5:9: id: STA01 is an earlier authority's; IDs must differ\n"},
    {EMBEDDED "  - id: STA02\n    store: memory\n", ""},
    {LISTENER REMOTE "  - url: http://127.0.0.1:8080\n", "7:10: url: this is an earlier authority's\n"},
    {EMBEDDED "    max-tickets: {per-user: -1}\n", "5:29: per-user: \"-1\" is too small: at least 0\n"},
    {EMBEDDED "    max-tickets: {per-user: 1000001}\n",
     "5:29: per-user: \"1000001\" is too large: at most 1000000\n"},
    {EMBEDDED "    max-tickets: {total: x}\n", "5:26: total: \"x\" is not a whole decimal number\n"},
    {EMBEDDED "    max-tickets: {when-full: drop-newest}\n",
     "5:30: when-full: \"drop-newest\" is not one of refuse-new, drop-oldest: did you mean "
     "\"drop-oldest\"?\n"},
    {EMBEDDED "    max-tickets: {per-usr: 1}\n",
     "5:19: unknown key \"per-usr\": did you mean \"per-user\"?\n"},
    {EMBEDDED "    max-tickets: 5\n", "5:18: max-tickets: expected a mapping (key: value), found text\n"},
    {EMBEDDED "    session-lifetime: 0s\n", "5:23: session-lifetime: \"0s\" is too short: at least 1s\n"},
    {EMBEDDED "    session-lifetime: 25h\n", "5:23: session-lifetime: \"25h\" is too long: at most 24h\n"},
    {EMBEDDED "    session-lifetime: 100\n",
     "5:23: session-lifetime: the unit is missing: write 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "    refreshable-lifetime: 999ms\n",
     "5:27: refreshable-lifetime: \"999ms\" is too short: at least 1s\n"},
    {EMBEDDED "    requested-class: both\n",
     "5:22: requested-class: \"both\" is not one of background, session\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: 127.0.0.1:8080\n",
     "4:13: listen: \"127.0.0.1:8080\": where to listen is http://ADDRESS:PORT or https://ADDRESS:PORT, "
     "without a path\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://127.0.0.1\n",
     "4:13: listen: \"http://127.0.0.1\": the port is missing: write mail.example.com:443\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://127.0.0.1:8080/\n",
     "4:13: listen: \"http://127.0.0.1:8080/\": where to listen is http://ADDRESS:PORT or "
     "https://ADDRESS:PORT, without a path\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://sta.example.com:80\n",
     "4:13: listen: \"http://sta.example.com:80\": an address to listen on is an IP address and a port, such "
     "as 127.0.0.1:8443 or [::1]:8443\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://127.0.0.1:99999\n",
     "4:13: listen: \"http://127.0.0.1:99999\": the port is too large: ports are 1 to 65535\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: https://127.0.0.1:0\n",
     "4:13: listen: https://127.0.0.1:0 needs certificate and key\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: https://127.0.0.1:0\n    certificate: "
     "there\n    key: there\n",
     ""},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: https://127.0.0.1:0\n    certificate: "
     "there\n",
     "5:18: certificate: its key is missing\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: https://127.0.0.1:0\n    certificate: "
     "missing\n    key: there\n",
     "5:18: warning: DIR/missing cannot be read: No such file or directory; `make certs` makes the lab's "
     "certificates\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://0.0.0.0:0\n",
     "4:13: warning: listen: tickets cross the network in clear on http://0.0.0.0:0: use https\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: [http://127.0.0.1:0, "
     "\"http://192.0.2.1:80\"]\nsign-in: {htpasswd: users}\n",
     "4:34: listen: http://192.0.2.1:80 would take passwords in clear off this machine: use https, or leave "
     "sign-in out\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: \"http://[::1]:0\"\n", ""},
    {EMBEDDED "    client-ca: there\n", "4:13: warning: listen: client-ca demands client certificates, which "
                                        "http://127.0.0.1:0 cannot ask for\n"},
    {EMBEDDED "    client-ca: missing\n",
     "4:13: warning: listen: client-ca demands client certificates, which http://127.0.0.1:0 cannot ask "
     "for\n5:16: warning: DIR/missing cannot be read: No such file or directory\n"},
    {EMBEDDED "    shared-key-file: missing\n",
     "5:22: warning: DIR/missing cannot be read: No such file or directory\n"},
    {EMBEDDED "    ssl-only: maybe\n", "5:15: ssl-only: \"maybe\" is not true or false\n"},
    {EMBEDDED "    allow: 10.0.0.1/8\n", "5:12: allow: \"10.0.0.1/8\": the address has bits set behind its "
                                         "prefix: write the range's first address\n"},
    {EMBEDDED "    allow: 127.0.0.1,, ::1\n", "5:22: allow: an item between commas is empty\n"},
    {EMBEDDED "    allow: [localhost]\n", "5:13: allow: \"localhost\": an address range is an IP address "
                                          "with or without a prefix, such as 10.0.0.0/8 or ::1\n"},
    {EMBEDDED "    hosts: a..b\n",
     "5:12: hosts: \"a..b\": the host name has an empty label (two dots, or a dot at its start)\n"},
    {EMBEDDED "    hosts: sta.example.com:80\n",
     "5:12: hosts: \"sta.example.com:80\": only the host is wanted here, without a port\n"},
    {EMBEDDED "    hosts: \"*.example.com\"\n",
     "5:13: hosts: \"*.example.com\": a wildcard is not possible here: only as the whole first label, and "
     "where wildcards are allowed\n"},
    {LISTENER "authorities:\n  - url: http://\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - url: http://a b\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - url: http://user@a\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - url: http://a/x?y\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - url: http://a:0/\n",
     "6:10: url: the value: port 0 does not exist: ports are 1 to 65535\n"},
    {LISTENER "authorities:\n  - url: "
              "http://"
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER REMOTE "    ca: there\n", "6:10: url: ca, certificate and key are for https\n"},
    {LISTENER REMOTE "    certificate: there\n",
     "6:10: url: ca, certificate and key are for https\n7:18: certificate: its key is missing\n"},
    {LISTENER REMOTE "    key: there\n", "7:10: key: whose is it? certificate is missing\n"},
    {LISTENER "authorities:\n  - url: https://sta.example.com\n    ca: missing\n",
     NOTHING "7:9: warning: DIR/missing cannot be read: No such file or directory\n"},
    {LISTENER "authorities:\n  - url: https://sta.example.com\n    certificate: [there, there]\n    key: "
              "[there, there]\n",
     "7:18: certificate: a remote authority is shown one certificate only\n"},
    {LISTENER REMOTE "    probe: 10ms\n", "7:12: probe: \"10ms\" is too short: at least 100ms\n"},
    {LISTENER REMOTE "    bypass: 25h\n", "7:13: bypass: \"25h\" is too long: at most 24h\n"},
    {LISTENER REMOTE "    timeout: 10ms\n", "7:14: timeout: \"10ms\" is too short: at least 50ms\n"},
    {LISTENER REMOTE "    connections: 0\n", "7:18: connections: \"0\" is too small: at least 1\n"},
    {LISTENER REMOTE "    connections: 1001\n", "7:18: connections: \"1001\" is too large: at most 1000\n"},
    {LISTENER REMOTE "    cache: -1s\n",
     "7:12: cache: a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "sign-in: {}\n", "5:10: sign-in: it is checked against htpasswd or ldap: write one of them\n"},
    {SIGN_IN "  htpasswd: users\n", ""},
    {SIGN_IN "  htpasswd: there\n", "6:13: htpasswd: DIR/there:1: no colon: a line is NAME:HASH\n"},
    {SIGN_IN "  htpasswd: /etc\n", "6:13: htpasswd: /etc: Is a directory\n"},
    {SIGN_IN "  htpasswd: missing\n",
     "6:13: warning: DIR/missing cannot be read: No such file or directory\n"},
    {LDAP, ""},
    {LDAP "  htpasswd: users\n",
     "7:10: sign-in: it is checked against htpasswd or ldap: write one of them\n"},
    {SIGN_IN "  ldap: {}\n",
     "6:9: sign-in.ldap: the key \"url\" is missing\n6:9: sign-in.ldap: the key \"base\" is missing\n"},
    {SIGN_IN "  ldap:\n    url: ldaps://ldap.example.com\n",
     "7:5: sign-in.ldap: the key \"base\" is missing\n"},
    {SIGN_IN "  ldap:\n    url: http://ldap.example.com\n    base: dc=example,dc=com\n",
     "7:10: ldap: url is none: write ldap://host, ldaps://host or ldapi://path with %2F for /\n"},
    {SIGN_IN "  ldap:\n    url: ldap://ldap.example.com\n    base: dc=example,dc=com\n",
     "7:10: warning: ldap: passwords go to the directory in clear: use ldaps:// or starttls: yes\n"},
    {SIGN_IN "  ldap:\n    url: ldap://ldap.example.com\n    base: dc=example,dc=com\n    starttls: yes\n",
     ""},
    {LDAP "    starttls: yes\n", "7:10: ldap: starttls goes with ldap:// only\n"},
    {LDAP "    filter: (uid=alice)\n", "7:10: ldap: the filter has no place for the name, such as %u\n"},
    {LDAP "    filter: \"(uid=%u\"\n", "7:10: ldap: a closing parenthesis is missing in the filter\n"},
    {LDAP "    bind-dn: cn=search\n",
     "7:10: ldap: bind_dn needs bind_password: without, the directory would bind anonymously\n"},
    {LDAP "    bind-dn: cn=search\n    bind-password-file: missing\n",
     "10:25: warning: DIR/missing cannot be read: No such file or directory\n"},
    {LDAP "    bind-password-file: there\n",
     "9:25: bind-password-file: whose password is it? bind-dn is missing\n"},
    {LDAP "    ca: missing\n", "9:9: warning: DIR/missing cannot be read: No such file or directory\n"},
    {LDAP "    name-variations: few\n",
     "9:22: name-variations: \"few\" is not one of any, fewer: did you mean \"fewer\"?\n"},
    {LDAP "    group-filter: \"x\"\n", "7:10: ldap: the filter does not begin with a parenthesis\n"},
    {LDAP "    timeout: 10ms\n", "9:14: timeout: \"10ms\" is too short: at least 100ms\n"},
    {SIGN_IN "  ldap:\n    url: ldaps://ldap.example.com\n    base: nonsense\n",
     "7:10: ldap: base is no DN\n"},
    {LDAP "    url2: x\n", "9:5: unknown key \"url2\": did you mean \"url\"?\n"},
    {SIGN_IN "  htpasswd: users\n  threads: 0\n", "7:12: threads: \"0\" is too small: at least 1\n"},
    {SIGN_IN "  htpasswd: users\n  threads: 65\n", "7:12: threads: \"65\" is too large: at most 64\n"},
    {SIGN_IN "  htpasswd: users\n  attempts-per-user: 0\n",
     "7:22: attempts-per-user: \"0\" is too small: at least 1\n"},
    {SIGN_IN "  htpasswd: users\n  attempts-per-address: 1000001\n",
     "7:25: attempts-per-address: \"1000001\" is too large: at most 1000000\n"},
    {SIGN_IN "  htpasswd: users\n  attempts-window: 999ms\n",
     "7:20: attempts-window: \"999ms\" is too short: at least 1s\n"},
    {SIGN_IN "  htpasswd: users\n  attempts-windw: 1m\n",
     "7:3: unknown key \"attempts-windw\": did you mean \"attempts-window\"?\n"},
    {EMBEDDED "admin: {socket: var/sock}\n", ""},
    {EMBEDDED "admin: {listen: http://127.0.0.1:1}\n", "5:9: listen: this version does not support it\n"},
    {EMBEDDED "admin: {token-file: x}\n", "5:9: token-file: this version does not support it\n"},
    {EMBEDDED "admin: {sockt: x}\n", "5:9: unknown key \"sockt\": did you mean \"socket\"?\n"},
    {EMBEDDED "admin: x\n", "5:8: admin: expected a mapping (key: value), found text\n"},
    {EMBEDDED "time-offset: 6d\n", ""},
    {EMBEDDED "time-offset: -1h\n", ""},
    {EMBEDDED "time-offset: 6\n",
     "5:14: time-offset: \"6\": the unit is missing: write 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "time-offset: --1h\n",
     "5:14: time-offset: \"--1h\": a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "time-offset: +1h\n",
     "5:14: time-offset: \"+1h\": a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "time-offset: \"\"\n",
     "5:14: time-offset: \"\": a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "time-offset: \"-\"\n",
     "5:14: time-offset: \"-\": a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
    {EMBEDDED "time-offset: 101y\n",
     "5:14: time-offset: \"101y\": unknown unit: the units are ms, s, m, h, d and w\n"},
    {EMBEDDED "policy: {on-expiry: never}\n", "5:21: on-expiry: \"never\" is not one of keep, drain, cut\n"},
    {EMBEDDED "policy: {forced-timeout: 0s}\n", "5:26: forced-timeout: \"0s\" is too short: at least 1s\n"},
    {EMBEDDED "policy: {background-network-services: \"a.example.com:1\"}\n", ""},
    {LISTENER "authorities:\n  - url: ftp://127.0.0.1:1\n    ca: there\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]\n"},
    {LISTENER "authorities:\n  - url: ftp://127.0.0.1:1\n    hosts: localhost\n",
     "6:10: url: the value: an authority's url is http://HOST[:PORT][/PATH] or "
     "https://HOST[:PORT][/PATH]\n7:12: hosts: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    max-tickets: {when-full: drop-oldest}\n",
     "7:30: max-tickets: belongs to an authority with store, and this one has url\n"},
    {LISTENER REMOTE "    max-tickets: {total: 0}\n",
     "7:26: max-tickets: belongs to an authority with store, and this one has url\n"},
    {"listeners:\n  - address: 127.0.0.1:8080\n    certificate: there\n    key: there\nauthorities:\n  - id: "
     "STA01\n    store: memory\n    listen: http://127.0.0.1:8080\n",
     "8:13: listen: the address of http://127.0.0.1:8080 is taken by an earlier listener\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: [http://127.0.0.1:8080, "
     "http://localhost:8080]\n",
     "4:37: listen: the address of http://localhost:8080 is taken by an earlier listener\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: [http://127.0.0.1:8080, "
     "http://127.0.0.2:8080]\n",
     ""},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: http://127.0.0.1:8080\n  - id: STA02\n    "
     "store: memory\n    listen: https://127.0.0.1:8080\n    certificate: there\n    key: there\n",
     "7:13: listen: the address of https://127.0.0.1:8080 is taken by an earlier listener\n"},
    {"authorities:\n  - id: STA01\n    store: memory\n    listen: [http://127.0.0.1:0, http://127.0.0.1:0]\n",
     ""},
    {EMBEDDED "    certificate: [there, there]\n    key: there\n",
     "6:10: key: 1 keys for 2 certificates: write one key for each, in the same order\n"},
};

START_TEST(what_is_said)
{
    struct settings *s = read_text(cases[_i].text, false);
    char *said = complaints(s);
    ck_assert_msg(strcmp(said, cases[_i].complaints) == 0, "text:\n%s\nexpected:\n%s\nsaid:\n%s",
                  cases[_i].text, cases[_i].complaints, said);
    free(said);
    settings_free(s);
}
END_TEST

/* Files that are not there: a warning where it is checked, an error where it is to be run. */
START_TEST(strictly)
{
    struct settings *s = read_text(cases[_i].text, false), *strict = read_text(cases[_i].text, true);
    char *said = replaced(complaints(s), "warning: DIR/", "DIR/"), *again = complaints(strict);
    if (!settings_ok(strict)) { /* where there are mistakes, nothing is said of what they make of the rest */
        said = replaced(said, NOTHING, "");
        again = replaced(again, NOTHING, "");
    }
    ck_assert_str_eq(said, again);
    ck_assert(settings_ok(strict) == (settings_ok(s) && strstr(said, "cannot be read") == NULL));
    free(said);
    free(again);
    settings_free(s);
    settings_free(strict);
}
END_TEST

/* ---- what is read ---- */

START_TEST(an_embedded_authority)
{
    struct settings *s = read_good("authorities:\n"
                                   "  - id: STA01\n"
                                   "    store: lmdb:tickets\n"
                                   "    max-tickets: {per-user: 5, per-device: 2, total: 1000, when-full: "
                                   "drop-oldest}\n"
                                   "    session-lifetime: 90s\n"
                                   "    requested-class: background\n"
                                   "    listen: [\"http://localhost:0\", \"https://[::1]:8443\"]\n"
                                   "    certificate: there\n"
                                   "    key: there\n"
                                   "    ssl-only: yes\n"
                                   "    allow: 10.0.0.0/8, ::1\n"
                                   "    hosts: [STA.example.com., b.example.com]\n"
                                   "    client-ca: there\n"
                                   "    shared-key-file: there\n"
                                   "    keep-ended: 2d\n");
    char path[96];
    ck_assert_uint_eq(s->authorities.count, 1);
    const struct authority_settings *a = s->authorities.items;
    ck_assert_str_eq(a->id, "STA01");
    snprintf(path, sizeof path, "lmdb:%s/tickets", folder);
    ck_assert_str_eq(a->store, path);
    ck_assert_ptr_null(a->url.text);
    ck_assert_int_eq(a->max_tickets.per_user, 5);
    ck_assert_int_eq(a->max_tickets.per_device, 2);
    ck_assert_int_eq(a->max_tickets.total, 1000);
    ck_assert_int_eq(a->max_tickets.when_full, 1);
    ck_assert_int_eq(a->session_ms, 90000);
    ck_assert_int_eq(a->refresh_ms, 500000);
    ck_assert_int_eq(a->requested_class, TICKET_BACKGROUND);
    ck_assert_int_eq(a->tombstone_ms, 2 * 86400000);
    ck_assert(a->ssl_only);
    const struct http_url *u = a->listen.items;
    ck_assert_uint_eq(a->listen.count, 2);
    ck_assert(!u[0].tls && u[1].tls);
    ck_assert_str_eq(u[0].text, "http://localhost:0");
    ck_assert_int_eq(u[0].address.ss_family, AF_INET);
    ck_assert_int_eq(u[1].address.ss_family, AF_INET6);
    ck_assert_uint_eq(u[0].origin.port, 0);
    ck_assert_uint_eq(u[1].origin.port, 8443);
    ck_assert_uint_eq(a->allow.count, 2);
    const char *const *hosts = a->hosts.items;
    ck_assert_uint_eq(a->hosts.count, 2);
    ck_assert_str_eq(hosts[0], "sta.example.com");
    ck_assert_str_eq(hosts[1], "b.example.com");
    snprintf(path, sizeof path, "%s/there", folder);
    ck_assert_str_eq(a->client_ca, path);
    ck_assert_str_eq(a->shared_key_file, path);
    settings_free(s);
}
END_TEST

START_TEST(defaults_of_an_embedded_authority)
{
    struct settings *s = read_good(EMBEDDED);
    const struct authority_settings *a = s->authorities.items;
    ck_assert_str_eq(a->store, "memory:");
    ck_assert_int_eq(a->max_tickets.per_user + a->max_tickets.per_device + a->max_tickets.total, 0);
    ck_assert_int_eq(a->max_tickets.when_full, 0);
    ck_assert_int_eq(a->session_ms, 100000);
    ck_assert_int_eq(a->requested_class, TICKET_SESSION);
    ck_assert_int_eq(a->tombstone_ms, 86400000);
    ck_assert(!a->ssl_only);
    ck_assert_uint_eq(a->allow.count, 2); /* loopback */
    ck_assert_uint_eq(a->hosts.count, 0);
    ck_assert_ptr_null(s->sign_in);
    ck_assert_ptr_null(s->admin.socket);
    ck_assert_int_eq(s->time_offset_ms, 0);
    ck_assert_int_eq(s->policy.on_expiry, EXPIRY_KEEP);
    ck_assert_int_eq(s->policy.forced_timeout_ms, 0);
    settings_free(s);
}
END_TEST

static const struct {
    const char *url;
    bool tls;
    const char *host;
    uint16_t port;
    const char *path;
} urls[] = {
    {"http://127.0.0.1", false, "127.0.0.1", 80, "/scripts/ctxsta.dll"},
    {"http://127.0.0.1/", false, "127.0.0.1", 80, "/scripts/ctxsta.dll"},
    {"http://STA.example.com:8080/a/b", false, "sta.example.com", 8080, "/a/b"},
    {"https://sta.example.com", true, "sta.example.com", 443, "/scripts/ctxsta.dll"},
    {"https://sta.example.com./x", true, "sta.example.com", 443, "/x"},
    {"https://[2001:db8::1]", true, "2001:db8::1", 443, "/scripts/ctxsta.dll"},
    {"https://[2001:DB8::1]:8443/x", true, "2001:db8::1", 8443, "/x"},
    {"http://a/x:y", false, "a", 80, "/x:y"},
    {"http://a//", false, "a", 80, "//"},
};

START_TEST(remote_authorities)
{
    char text[512];
    snprintf(text, sizeof text, LISTENER "authorities:\n  - url: \"%s\"\n    cache: 5m\n", urls[_i].url);
    struct settings *s = read_good(text);
    const struct authority_settings *a = s->authorities.items;
    ck_assert_ptr_null(a->id);
    ck_assert_ptr_null(a->store);
    ck_assert_str_eq(a->url.text, urls[_i].url);
    ck_assert(a->url.tls == urls[_i].tls);
    ck_assert_str_eq(a->url.origin.host, urls[_i].host);
    ck_assert_uint_eq(a->url.origin.port, urls[_i].port);
    ck_assert_str_eq(a->url.path, urls[_i].path);
    ck_assert(a->learn_id);
    ck_assert_int_eq(a->probe_ms, 30000);
    ck_assert_int_eq(a->bypass_ms, 10000);
    ck_assert_int_eq(a->timeout_ms, 3000);
    ck_assert_int_eq(a->cache_ms, 300000);
    ck_assert_int_eq(a->connections, 8);
    settings_free(s);
}
END_TEST

START_TEST(signing_in)
{
    struct settings *s = read_good(LDAP "    starttls: no\n"
                                        "    bind-dn: cn=search,dc=example,dc=com\n"
                                        "    bind-password-file: there\n"
                                        "    filter: (mail=%u)\n"
                                        "    group-filter: (member=%d)\n"
                                        "    user-attribute: sAMAccountName\n"
                                        "    name-variations: fewer\n"
                                        "    name-attributes: uid, cn\n"
                                        "  threads: 4\n"
                                        "  attempts-per-user: 3\n");
    struct signin_ldap l;
    const char *why;
    settings_ldap(s->sign_in->ldap, "secret", &l);
    ck_assert_int_eq(signin_ldap_check(&l, &why), 0);
    ck_assert_str_eq(l.url, "ldaps://ldap.example.com");
    ck_assert_str_eq(l.bind_password, "secret");
    ck_assert_str_eq(l.filter, "(mail=%u)");
    ck_assert_str_eq(l.group_filter, "(member=%d)");
    ck_assert_ptr_null(l.group_base);
    ck_assert(l.fewer_variations);
    ck_assert_str_eq(l.name_attributes[0], "uid");
    ck_assert_str_eq(l.name_attributes[1], "cn");
    ck_assert_ptr_null(l.name_attributes[2]);
    ck_assert_int_eq(l.timeout_ms, 5000);
    ck_assert_int_eq(s->sign_in->threads, 4);
    ck_assert_int_eq(s->sign_in->attempts_per_user, 3);
    ck_assert_int_eq(s->sign_in->attempts_per_address, 60);
    ck_assert_int_eq(s->sign_in->attempts_window_ms, 60000);
    ck_assert_ptr_null(s->sign_in->htpasswd);
    settings_free(s);
}
END_TEST

START_TEST(admin_policy_and_clock)
{
    struct settings *s = read_good(EMBEDDED "admin: {socket: var/stagate.sock}\n"
                                            "time-offset: -1h\n"
                                            "policy: {on-expiry: drain, forced-timeout: 12h}\n");
    char path[96];
    snprintf(path, sizeof path, "%s/var/stagate.sock", folder);
    ck_assert_str_eq(s->admin.socket, path);
    ck_assert_int_eq(s->time_offset_ms, -3600000);
    ck_assert_int_eq(s->policy.on_expiry, EXPIRY_DRAIN);
    ck_assert_int_eq(s->policy.forced_timeout_ms, 12 * 3600000);
    settings_free(s);
    s = read_good(EMBEDDED "time-offset: 1w\n");
    ck_assert_int_eq(s->time_offset_ms, 7 * 86400000);
    settings_free(s);
}
END_TEST

/* A password that was written into a URL is not written into a terminal as well. */
START_TEST(no_complaint_shows_a_password)
{
    static const char *const texts[] = {
        "authorities:\n  - id: STA01\n    store: redis://:hunter2@127.0.0.1:6379\n",
        LISTENER "authorities:\n  - url: http://gate:hunter2@127.0.0.1\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct settings *s = read_text(texts[i], false);
        char *said = complaints(s);
        ck_assert(!settings_ok(s));
        ck_assert_msg(strstr(said, "hunter2") == NULL, "%s", said);
        free(said);
        settings_free(s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("settings_authorities");
    TCase *t = tcase_create("settings_authorities");
    int n = sizeof cases / sizeof cases[0];
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, what_is_said, 0, n);
    tcase_add_loop_test(t, strictly, 0, n);
    tcase_add_test(t, an_embedded_authority);
    tcase_add_test(t, defaults_of_an_embedded_authority);
    tcase_add_loop_test(t, remote_authorities, 0, (int)(sizeof urls / sizeof urls[0]));
    tcase_add_test(t, signing_in);
    tcase_add_test(t, admin_policy_and_clock);
    tcase_add_test(t, no_complaint_shows_a_password);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
