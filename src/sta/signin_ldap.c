/* Sign-in against an LDAP directory: search, then bind, on a connection of each check's own. Called on the
 * pool's threads; blocks for as long as the timeouts allow, and looks between steps whether anybody still
 * waits. Time is kept by ldapwire.c; connecting has libldap's network timeout for each of the
 * host's addresses, and resolving its name what the resolver takes.
 *
 * One check takes the same steps whatever the name and the password are: service bind, search, group search,
 * bind. Whoever is not there is looked up in the group and bound as the search base, with a password drawn by
 * lot. What libldap reads from ldap.conf, ldaprc and the environment is overridden for everything that
 * matters.
 */
#include <ldap.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "ldapwire.h"
#include "base/htpasswd.h"
#include "signin_impl.h"
#include "sta/ldapfilter.h"

#define TIMEOUT_MS 5000

static const char *const default_name_attributes[] = {"uid", "mail", "cn", NULL};

struct directory {
    struct signin_backend backend;
    struct signin_ldap l; /* a copy; strings owned */
    struct timeval timeout;
};

/* One check. */
struct check {
    const struct signin_ldap *l;
    struct timeval timeout;
    struct signin_job *job;
    struct ldapwire wire; /* the present step's deadline */
    LDAP *ld;
    /* what the search found */
    char *dn;            /* owned; NULL: nobody who could sign in */
    char *name;          /* owned; canonical; with dn */
    const char *refused; /* why, where there was something; constant */
};

static struct directory *directory_of(struct signin_backend *b)
{
    return (struct directory *)(void *)b; /* its first member */
}

/* The file that OpenSSL takes for the system's: the same authorities as everywhere else in this program. */
static const char *ca_file(const struct signin_ldap *l)
{
    const char *path = l->ca ? l->ca : secure_getenv(X509_get_default_cert_file_env());
    return path ? path : X509_get_default_cert_file();
}

static bool wants_tls(const struct signin_ldap *l)
{
    return l->starttls || strncasecmp(l->url, "ldaps:", 6) == 0;
}

/* ---- failing ---- */

/* The directory did not do what it is asked before any user's password matters. Returns -1. */
static int down(struct check *c, const char *what, int code)
{
    char *more = NULL;
    if (ldapwire_late(&c->wire)) {
        signin_job_end(c->job, SIGNIN_DOWN, "%s: %s", what, ldap_err2string(LDAP_TIMEOUT));
        return -1;
    }
    ldap_get_option(c->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
    bool say = more != NULL && *more != '\0';
    signin_job_end(c->job, SIGNIN_DOWN, "%s: %s%s%s%s", what, ldap_err2string(code), say ? " (" : "",
                   say ? more : "", say ? ")" : "");
    ldap_memfree(more);
    return -1;
}

/* ---- waiting ---- */

static void begin_step(struct check *c)
{
    c->wire.deadline_ms =
        clock_mono_ms() + (uint64_t)c->timeout.tv_sec * 1000 + (uint64_t)c->timeout.tv_usec / 1000;
}

/* The whole answer to a request that was sent with the given code; an LDAP code, with *out owned on success.
 */
static int wait_answer(struct check *c, int sent, int id, LDAPMessage **out)
{
    *out = NULL;
    if (sent != LDAP_SUCCESS)
        return sent;
    while (!ldapwire_late(&c->wire)) {
        struct timeval slice = {.tv_usec = LDAPWIRE_SLICE_MS * 1000};
        int rc = ldap_result(c->ld, id, LDAP_MSG_ALL, &slice, out);
        if (rc > 0)
            return LDAP_SUCCESS;
        if (rc < 0) {
            int code = LDAP_SERVER_DOWN;
            ldap_get_option(c->ld, LDAP_OPT_RESULT_CODE, &code);
            return code != LDAP_SUCCESS ? code : LDAP_SERVER_DOWN;
        }
    }
    return LDAP_TIMEOUT;
}

/* The result code inside an answer, which is freed. */
static int answer_code(struct check *c, LDAPMessage *answer)
{
    int code = LDAP_OTHER;
    int rc = ldap_parse_result(c->ld, answer, &code, NULL, NULL, NULL, NULL, 1);
    return rc == LDAP_SUCCESS ? code : rc;
}

/* A simple bind; an LDAP code. An empty password or name would be an anonymous bind, which succeeds: it never
 * leaves this house. */
static int bind_as(struct check *c, const char *dn, const char *password)
{
    struct berval secret = {.bv_len = strlen(password), .bv_val = (char *)(uintptr_t)password};
    LDAPMessage *answer;
    int id = 0;
    if (*dn == '\0' || *password == '\0')
        return LDAP_INVALID_CREDENTIALS;
    if (wants_tls(c->l) && !ldap_tls_inplace(c->ld))
        return LDAP_SERVER_DOWN; /* libldap connects again by itself, but StartTLS it would forget */
    begin_step(c);
    int sent = ldap_sasl_bind(c->ld, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &id);
    int rc = wait_answer(c, sent, id, &answer);
    return rc == LDAP_SUCCESS ? answer_code(c, answer) : rc;
}

/* Everything below base that the filter takes, two at most; an LDAP code, with *out owned on success and with
 * LDAP_SIZELIMIT_EXCEEDED. */
static int search(struct check *c, const char *base, const char *filter, const char **attributes,
                  LDAPMessage **out)
{
    struct timeval limit = {.tv_sec = c->timeout.tv_sec + 1}; /* the server's own, in seconds */
    int id = 0, code = LDAP_OTHER;
    begin_step(c);
    int sent = ldap_search_ext(c->ld, base, LDAP_SCOPE_SUBTREE, filter, (char **)(uintptr_t)attributes, 0,
                               NULL, NULL, &limit, 2, &id);
    int rc = wait_answer(c, sent, id, out);
    if (rc != LDAP_SUCCESS)
        return rc;
    rc = ldap_parse_result(c->ld, *out, &code, NULL, NULL, NULL, NULL, 0);
    return rc == LDAP_SUCCESS ? code : rc;
}

/* ---- connecting ---- */

/* An LDAP code; any failure is the CA file's: it cannot be read. */
static int set_tls(LDAP *ld, const struct signin_ldap *l)
{
    int demand = LDAP_OPT_X_TLS_DEMAND, as_client = 0;
    int rc = ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTDIR, NULL); /* else trusted beside the file */
    rc = rc ? rc : ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, ca_file(l));
    rc = rc ? rc : ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
    return rc ? rc : ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &as_client);
}

/* A handle with every option set, not connected yet. NULL with *what where that fails. */
static LDAP *new_handle(const struct signin_ldap *l, const struct timeval *timeout, const char **what)
{
    LDAP *ld = NULL;
    int version = LDAP_VERSION3, never = LDAP_DEREF_NEVER;
    *what = "the url is none that libldap takes";
    if (ldap_initialize(&ld, l->url) != LDAP_SUCCESS)
        return NULL;
    ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    ldap_set_option(ld, LDAP_OPT_DEREF, &never);
    ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, timeout);
    ldap_set_option(ld, LDAP_OPT_TIMEOUT, timeout);
    *what = "TLS cannot be set up with the CA file";
    if (wants_tls(l) && set_tls(ld, l) != LDAP_SUCCESS) {
        ldap_unbind_ext(ld, NULL, NULL);
        return NULL;
    }
    return ld;
}

static int start_tls(struct check *c)
{
    LDAPMessage *answer;
    int id = 0;
    begin_step(c);
    int sent = ldap_start_tls(c->ld, NULL, NULL, &id);
    int rc = wait_answer(c, sent, id, &answer);
    if (rc == LDAP_SUCCESS)
        rc = answer_code(c, answer);
    if (rc != LDAP_SUCCESS)
        return down(c, "StartTLS", rc);
    begin_step(c);
    rc = ldap_install_tls(c->ld);
    return rc == LDAP_SUCCESS ? 0 : down(c, "StartTLS", rc);
}

/* TLS 1.2 at least. Looked at behind the handshake, before anything is said: what libldap has for it is
 * without effect in GnuTLS, and GnuTLS's own list leaks 8 KB with each handle. */
static int check_tls(struct check *c)
{
    char *version = NULL;
    ldap_get_option(c->ld, LDAP_OPT_X_TLS_VERSION, &version);
    bool fine = ldap_tls_inplace(c->ld) && version && (strstr(version, "1.2") || strstr(version, "1.3"));
    if (!fine)
        signin_job_end(c->job, SIGNIN_DOWN, "the directory speaks %s; TLS 1.2 is the least that is taken",
                       version ? version : "no TLS");
    ldap_memfree(version);
    return fine ? 0 : -1;
}

/* Connected, under TLS where it has to be, and bound as whoever may search. */
static int connect_service(struct check *c)
{
    const char *what;
    c->ld = new_handle(c->l, &c->timeout, &what);
    if (c->ld == NULL) {
        signin_job_end(c->job, SIGNIN_DOWN, "%s", what);
        return -1;
    }
    begin_step(c);
    int rc = ldapwire_add(c->ld, &c->wire);
    rc = rc ? rc : ldap_connect(c->ld);
    if (rc != LDAP_SUCCESS)
        return down(c, "connecting to the directory", rc);
    if (c->l->starttls && start_tls(c) < 0)
        return -1;
    if (wants_tls(c->l) && check_tls(c) < 0)
        return -1;
    if (c->l->bind_dn == NULL)
        return 0;
    rc = bind_as(c, c->l->bind_dn, c->l->bind_password);
    return rc == LDAP_SUCCESS ? 0 : down(c, "binding as bind_dn", rc);
}

/* ---- who it is ---- */

/* Case-insensitively in ASCII; other letters have to be the same. */
static bool holds_value(struct check *c, LDAPMessage *entry, const char *attribute, const char *value)
{
    size_t len = strlen(value);
    bool found = false;
    struct berval **values = ldap_get_values_len(c->ld, entry, attribute);
    for (size_t i = 0; values && values[i] && !found; i++)
        found = values[i]->bv_len == len && strncasecmp(values[i]->bv_val, value, len) == 0;
    ldap_value_free_len(values);
    return found;
}

static bool holds_name(struct check *c, LDAPMessage *entry)
{
    for (const char *const *a = c->l->name_attributes; *a; a++)
        if (holds_value(c, entry, *a, c->job->user))
            return true;
    return false;
}

/* Owned; NULL where the entry has no usable value. */
static char *canonical_name(struct check *c, LDAPMessage *entry)
{
    if (c->l->user_attribute == NULL)
        return mem_strdup(c->job->user);
    char *name = NULL;
    struct berval **values = ldap_get_values_len(c->ld, entry, c->l->user_attribute);
    if (values && values[0] && htpasswd_name_valid(values[0]->bv_val, values[0]->bv_len))
        name = mem_strndup(values[0]->bv_val, values[0]->bv_len);
    ldap_value_free_len(values);
    return name;
}

/* Takes the one entry over, or says in c->refused why not. */
static void take_entry(struct check *c, LDAPMessage *entry)
{
    char *dn = ldap_get_dn(c->ld, entry);
    char *name = canonical_name(c, entry);
    if (dn == NULL || *dn == '\0')
        c->refused = "the entry has no DN";
    else if (c->l->fewer_variations && !holds_name(c, entry))
        c->refused = "the name is not the full one";
    else if (name == NULL)
        c->refused = "the entry has no user_attribute, or it is no name";
    if (c->refused == NULL) {
        c->dn = mem_strdup(dn);
        c->name = name;
        name = NULL;
    }
    free(name);
    ldap_memfree(dn);
}

static int find_user(struct check *c)
{
    const char *attributes[SIGNIN_ATTRIBUTES_MAX + 2] = {NULL};
    size_t n = 0;
    if (c->l->user_attribute)
        attributes[n++] = c->l->user_attribute;
    for (size_t i = 0; c->l->fewer_variations && c->l->name_attributes[i]; i++)
        attributes[n++] = c->l->name_attributes[i];
    if (n == 0)
        attributes[n++] = LDAP_NO_ATTRS;

    LDAPMessage *found;
    char *filter = ldapfilter_fill(c->l->filter, &(struct ldapfilter_values){.user = c->job->user});
    int rc = search(c, c->l->base, filter, attributes, &found);
    free(filter);
    int count = found ? ldap_count_entries(c->ld, found) : 0;
    if (rc == LDAP_SIZELIMIT_EXCEEDED || (rc == LDAP_SUCCESS && count > 1))
        c->refused = "more than one entry";
    else if (rc == LDAP_SUCCESS && count == 1)
        take_entry(c, ldap_first_entry(c->ld, found));
    else if (rc != LDAP_SUCCESS)
        down(c, "searching the user", rc);
    ldap_msgfree(found);
    return rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED ? 0 : -1;
}

/* Searched in any case, so that it takes the same time for nobody. */
static int find_group(struct check *c, bool *member)
{
    *member = true;
    if (c->l->group_filter == NULL)
        return 0;
    const char *none[] = {LDAP_NO_ATTRS, NULL};
    struct ldapfilter_values values = {
        .user = c->job->user, .dn = c->dn ? c->dn : c->l->base, .name = c->name ? c->name : c->job->user};
    LDAPMessage *found;
    char *filter = ldapfilter_fill(c->l->group_filter, &values);
    int rc = search(c, c->l->group_base ? c->l->group_base : c->l->base, filter, none, &found);
    free(filter);
    if (rc != LDAP_SUCCESS && rc != LDAP_SIZELIMIT_EXCEEDED)
        down(c, "searching the group", rc);
    *member = found && ldap_count_entries(c->ld, found) > 0;
    ldap_msgfree(found);
    return rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED ? 0 : -1;
}

/* ---- the password ---- */

/* A bind that must fail, and whose answer says only whether the directory is there. */
static int bind_nobody(struct check *c)
{
    unsigned char drawn[16];
    char password[2 * sizeof drawn + 1];
    if (RAND_bytes(drawn, sizeof drawn) != 1)
        memset(drawn, 1, sizeof drawn);
    for (size_t i = 0; i < sizeof drawn; i++)
        snprintf(password + 2 * i, 3, "%02x", drawn[i]);
    int rc = bind_as(c, c->l->base, password);
    return rc == LDAP_SUCCESS ? LDAP_INVALID_CREDENTIALS : rc;
}

/* Codes that speak of this account, not of the directory; NULL: a wrong password, which needs no words. */
static bool is_refusal(int code, const char **words)
{
    *words = NULL;
    switch (code) {
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_INAPPROPRIATE_AUTH: /* an entry without a password */
    case LDAP_NO_SUCH_OBJECT:
        return true;
    case LDAP_UNWILLING_TO_PERFORM:
    case LDAP_CONSTRAINT_VIOLATION:
    case LDAP_INSUFFICIENT_ACCESS:
        *words = "the directory does not let this account bind";
        return true;
    default:
        return false;
    }
}

static void check_password(struct check *c, bool member)
{
    const char *words = NULL;
    bool there = c->dn != NULL && c->job->password[0] != '\0';
    int rc = there ? bind_as(c, c->dn, c->job->password) : bind_nobody(c);
    if (rc != LDAP_SUCCESS && !is_refusal(rc, &words)) {
        /* the server's own words are left out: they may repeat what it was told */
        signin_job_end(c->job, SIGNIN_DOWN, "binding as the user: %s", ldap_err2string(rc));
        return;
    }
    if (rc == LDAP_SUCCESS && member) {
        c->job->result = SIGNIN_OK;
        c->job->canonical = c->name;
        c->name = NULL;
        return;
    }
    if (c->refused)
        words = c->refused;
    else if (rc == LDAP_SUCCESS)
        words = "group_filter finds no group of this user";
    else if (!there)
        words = NULL;
    signin_job_end(c->job, SIGNIN_WRONG, "%s", words ? words : "");
}

/* What Domino calls a variation, told from the name alone. */
static bool is_full_name(const char *name)
{
    return name[strcspn(name, "* ,/")] == '\0';
}

static void ldap_check(struct signin_backend *b, struct signin_job *job)
{
    const struct directory *d = directory_of(b);
    struct check c = {.l = &d->l, .timeout = d->timeout, .job = job, .wire = {.cancelled = &job->cancelled}};
    bool member;
    if (d->l.fewer_variations && !is_full_name(job->user)) {
        signin_job_end(job, SIGNIN_WRONG, "the name is not the full one");
        return;
    }
    if (connect_service(&c) == 0 && find_user(&c) == 0 && find_group(&c, &member) == 0)
        check_password(&c, member);
    if (c.ld)
        ldap_unbind_ext(c.ld, NULL, NULL);
    free(c.dn);
    free(c.name);
}

/* ---- opening ---- */

static const char *const *copy_names(const char *const *names)
{
    size_t n = 0;
    while (names[n])
        n++;
    const char **copy = mem_zalloc((n + 1) * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_strdup(names[i]);
    return copy;
}

static void copy_settings(struct signin_ldap *to, const struct signin_ldap *from)
{
    bool names = from->name_attributes && from->name_attributes[0];
    *to = *from;
    to->url = mem_strdup(from->url);
    to->ca = mem_strdup(from->ca);
    to->bind_dn = mem_strdup(from->bind_dn);
    to->bind_password = mem_strdup(from->bind_password);
    to->base = mem_strdup(from->base);
    to->filter = mem_strdup(from->filter);
    to->group_filter = mem_strdup(from->group_filter);
    to->group_base = mem_strdup(from->group_base);
    to->user_attribute = mem_strdup(from->user_attribute);
    to->name_attributes = copy_names(names ? from->name_attributes : default_name_attributes);
    to->timeout_ms = from->timeout_ms ? from->timeout_ms : TIMEOUT_MS;
}

/* Strings of copy_settings: ours, and const only to their readers. */
static void drop(const char *s)
{
    free((void *)(uintptr_t)s);
}

static void ldap_close(struct signin_backend *b)
{
    struct directory *d = directory_of(b);
    struct signin_ldap *l = &d->l;
    if (l->bind_password)
        mem_wipe((void *)(uintptr_t)l->bind_password, strlen(l->bind_password));
    const char *const owned[] = {l->url,    l->ca,           l->bind_dn,    l->bind_password, l->base,
                                 l->filter, l->group_filter, l->group_base, l->user_attribute};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        drop(owned[i]);
    for (size_t i = 0; l->name_attributes[i]; i++)
        drop(l->name_attributes[i]);
    free((void *)(uintptr_t)l->name_attributes);
    free(d);
}

static const struct signin_ops ldap_ops = {.check = ldap_check, .free = ldap_close};

/* GnuTLS takes an empty file without a word, and then trusts nobody. */
static bool has_authorities(const char *path)
{
    X509_STORE *store = X509_STORE_new();
    bool some = store != NULL && X509_STORE_load_file(store, path) == 1;
    X509_STORE_free(store);
    ERR_clear_error();
    return some;
}

int signin_ldap_open(struct signin_backend **out, const struct signin_ldap *l, char *why, size_t why_cap)
{
    const char *mistake;
    int rc = signin_ldap_check(l, &mistake);
    if (rc < 0) {
        snprintf(why, why_cap, "%s", mistake);
        return rc;
    }
    if (wants_tls(l) && !has_authorities(ca_file(l))) {
        snprintf(why, why_cap, "%s: no CA certificate can be read from it", ca_file(l));
        return ERR_SYNTAX;
    }
    struct directory *d = mem_zalloc(sizeof *d);
    d->backend.ops = &ldap_ops;
    copy_settings(&d->l, l);
    d->timeout = (struct timeval){.tv_sec = (time_t)(d->l.timeout_ms / 1000),
                                  .tv_usec = (suseconds_t)(d->l.timeout_ms % 1000) * 1000};
    /* tried out here, where somebody reads the mistake; it also has libldap initialise itself on one thread
     */
    LDAP *ld = new_handle(&d->l, &d->timeout, &mistake);
    if (ld == NULL) {
        snprintf(why, why_cap, "%s: %s", l->url, mistake);
        ldap_close(&d->backend);
        return ERR_SYNTAX;
    }
    ldap_unbind_ext(ld, NULL, NULL);
    *out = &d->backend;
    return 0;
}
