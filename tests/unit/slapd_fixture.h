/* A real slapd for the tests of sign-in: own folder, own ports on the loopback, own certificate; in the
 * foreground as whoever runs the tests. It ends with the test that started it. */
#ifndef STAGATE_TESTS_UNIT_SLAPD_FIXTURE_H
#define STAGATE_TESTS_UNIT_SLAPD_FIXTURE_H

#include "signin_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SLAPD            "/usr/sbin/slapd"
#define SLAPADD          "/usr/sbin/slapadd"
#define BASE             "dc=lab"
#define SERVICE          "cn=service,dc=lab"
#define SERVICE_PASSWORD "service secret"

struct slapd {
    pid_t pid;
    unsigned port, tls_port;
    char url[40], tls_url[40], local_url[400];
    char *ca;    /* what its certificate is checked against: itself */
    char *other; /* a CA that has nothing to do with it */
};

/* Anybody may search all but passwords; the service's account too. "closed" needs the service's. */
static const char slapd_directory[] =
    "dn: dc=lab\nobjectClass: domain\ndc: lab\n\n"
    "dn: ou=people,dc=lab\nobjectClass: organizationalUnit\nou: people\n\n"
    "dn: ou=groups,dc=lab\nobjectClass: organizationalUnit\nou: groups\n\n"
    "dn: cn=service,dc=lab\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: service\n"
    "userPassword: " SERVICE_PASSWORD "\n\n"
    "dn: uid=anna,ou=people,dc=lab\nobjectClass: inetOrgPerson\nuid: anna\ncn: Anna Meier\nsn: Meier\n"
    "givenName: Twin\nmail: Anna.Meier@lab.test\nemployeeNumber: E17\nuserPassword: secret\n\n"
    "dn: uid=bert,ou=people,dc=lab\nobjectClass: inetOrgPerson\nuid: bert\ncn: Bert\nsn: B\ngivenName: Twin\n"
    "userPassword: other\n\n"
    "dn: uid=no password,ou=people,dc=lab\nobjectClass: inetOrgPerson\nuid: nopw\ncn: No\nsn: N\n\n"
    /* uid "we(i*r)d\", cn "O'Neil, "Q" <x>", both awkward in filters and DNs */
    "dn: uid=we(i*r)d\\5C,ou=people,dc=lab\nobjectClass: inetOrgPerson\nuid: we(i*r)d\\\ncn: O'Neil, \"Q\" "
    "<x>\n"
    "sn: W\nuserPassword: odd\n\n"
    "dn: uid=bad,ou=people,dc=lab\nobjectClass: inetOrgPerson\nuid: bad\ncn: Bad\nsn: B\n"
    "employeeNumber:: bgBu\nuserPassword: bad\n\n" /* a NUL in it */
    "dn: cn=mail,ou=groups,dc=lab\nobjectClass: groupOfNames\ncn: mail\nmember: uid=anna,ou=people,dc=lab\n"
    "member: uid=we(i*r)d\\5C,ou=people,dc=lab\n\n"
    "dn: cn=E17,ou=groups,dc=lab\nobjectClass: groupOfNames\ncn: E17\nmember: cn=x\n\n";

/* ---- its certificate ---- */

/* Self-signed, a CA to itself; with an address where san is given. */
static inline void slapd_certificate(const char *certificate, const char *key_path, const char *san)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"slapd",
                               -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    ck_assert_ptr_nonnull(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(x, key, EVP_sha256());
    FILE *f = fopen(certificate, "w");
    PEM_write_X509(f, x);
    fclose(f);
    f = fopen(key_path, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* ---- its life ---- */

/* A listener on a free port of the loopback, and that port. */
static inline int slapd_listen(unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Output goes to a file of the folder. */
static inline pid_t slapd_spawn(char *const *argv)
{
    ck_assert_msg(access(argv[0], X_OK) == 0, "%s is not there: install slapd", argv[0]);
    char *log = fixture_path("slapd.log");
    pid_t parent = getpid(), pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(log, O_CREAT | O_WRONLY | O_APPEND, 0600);
        if (getppid() != parent || fd < 0)
            _exit(126);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    free(log);
    return pid;
}

static inline bool slapd_answers(const struct slapd *d)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)d->tls_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return up;
}

static inline void slapd_run(struct slapd *d)
{
    char *conf = fixture_path("slapd.conf");
    char *urls = mem_printf("%s %s %s", d->url, d->tls_url, d->local_url);
    char *argv[] = {(char *)SLAPD, (char *)"-f", conf, (char *)"-h", urls, (char *)"-d", (char *)"0", NULL};
    d->pid = slapd_spawn(argv);
    uint64_t end = uv_hrtime() + 30ull * 1000000000;
    while (!slapd_answers(d)) {
        int status;
        ck_assert_msg(waitpid(d->pid, &status, WNOHANG) == 0, "slapd ended: see %s/slapd.log",
                      fixture_folder);
        ck_assert_msg(uv_hrtime() < end, "slapd does not answer");
        usleep(2000);
    }
    free(conf);
    free(urls);
}

static inline void slapd_kill(struct slapd *d)
{
    int status;
    kill(d->pid, SIGKILL);
    ck_assert_int_eq(waitpid(d->pid, &status, 0), d->pid);
}

static inline void slapd_configure(const char *access, const char *ciphers)
{
    char *conf = fixture_path("slapd.conf"), *ldif = fixture_path("directory.ldif"), *db = fixture_path("db");
    char *text =
        mem_printf("include /etc/ldap/schema/core.schema\n"
                   "include /etc/ldap/schema/cosine.schema\n"
                   "include /etc/ldap/schema/inetorgperson.schema\n"
                   "modulepath /usr/lib/ldap\n"
                   "moduleload back_mdb\n"
                   "pidfile %s/slapd.pid\n"
                   "argsfile %s/slapd.args\n"
                   "TLSCertificateFile %s/slapd.crt\n"
                   "TLSCertificateKeyFile %s/slapd.key\n"
                   "TLSCipherSuite %s\n"
                   "allow bind_anon_cred bind_anon_dn\n" /* as lax as a directory can be */
                   "database mdb\n"
                   "maxsize 10485760\n"
                   "suffix " BASE "\n"
                   "directory %s\n"
                   "access to attrs=userPassword by anonymous auth by * none\n"
                   "access to * by %s\n",
                   fixture_folder, fixture_folder, fixture_folder, fixture_folder, ciphers, db, access);
    ck_assert_int_eq(mkdir(db, 0700), 0);
    fixture_write(conf, text);
    fixture_write(ldif, slapd_directory);
    char *argv[] = {(char *)SLAPADD, (char *)"-f", conf, (char *)"-l", ldif, NULL};
    int status;
    pid_t pid = slapd_spawn(argv);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "slapadd failed: see %s/slapd.log", fixture_folder);
    free(conf);
    free(ldif);
    free(db);
    free(text);
}

/* access: what stands behind "access to * by"; san: of the certificate; ciphers: as GnuTLS writes them. */
static inline struct slapd slapd_start_with(const char *access, const char *san, const char *ciphers)
{
    struct slapd d = {0};
    char *certificate = fixture_path("slapd.crt"), *key = fixture_path("slapd.key");
    d.ca = certificate;
    d.other = fixture_path("other.crt");
    slapd_certificate(d.other, key, "IP:127.0.0.1");
    slapd_certificate(certificate, key, san);
    free(key);
    slapd_configure(access, ciphers);

    int one = slapd_listen(&d.port), two = slapd_listen(&d.tls_port); /* both at once, so that they differ */
    close(one);
    close(two);
    snprintf(d.url, sizeof d.url, "ldap://127.0.0.1:%u", d.port);
    snprintf(d.tls_url, sizeof d.tls_url, "ldaps://127.0.0.1:%u", d.tls_port);
    char *to = d.local_url + sprintf(d.local_url, "ldapi://");
    for (const char *p = fixture_folder; *p; p++)
        to += *p == '/' ? sprintf(to, "%%2F") : sprintf(to, "%c", *p);
    sprintf(to, "%%2Fldapi");
    slapd_run(&d);
    return d;
}

static inline struct slapd slapd_start(const char *access, const char *san)
{
    return slapd_start_with(access, san, "NORMAL");
}

static inline void slapd_end(struct slapd *d)
{
    slapd_kill(d);
    free(d->ca);
    free(d->other);
}

#endif
