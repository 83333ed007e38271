/* Minting: loading the CA, keeping contexts. The leaves themselves are made in mint_leaf.c. Called by the
 * relay that inspects and by what checks configurations; knows no sockets. */
#include "net/mint.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "mint_leaf.h"
#include "net/tlsctx.h"

#define BUCKETS 128

/* A context that is kept. */
struct kept {
    struct list recent; /* in mint.recent */
    struct list bucket;
    SSL_CTX *ctx;     /* owned, a reference */
    int64_t renew_ms; /* wall clock: too little is left of its leaf's life */
    uint16_t floor;
    char host[];
};

struct mint {
    atomic_uint refs;
    struct mint_ca ca;
    EVP_PKEY *leaf_key;    /* owned */
    pthread_mutex_t mutex; /* guards what follows */
    struct list recent;    /* struct kept, what was asked for last in front */
    struct list buckets[BUCKETS];
    size_t count;
};

/* ---- the CA ---- */

static int say(char *why, size_t cap, const char *path, const char *sentence)
{
    ERR_clear_error();
    snprintf(why, cap, "%s: %s", path, sentence);
    return ERR_TLS;
}

/* All certificates of a file, the CA first. */
static int load_chain(STACK_OF(X509) * chain, const char *path, char *why, size_t cap)
{
    X509 *x;
    ERR_clear_error();
    BIO *in = BIO_new_file(path, "r");
    if (in == NULL)
        return tlsctx_fail(why, cap, path);
    while ((x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(chain, x) == 0)
            mem_fail();
    }
    BIO_free(in);
    /* the end of the file is told as an error, too */
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!ended || sk_X509_num(chain) == 0)
        return tlsctx_fail(why, cap, path);
    ERR_clear_error();
    return 0;
}

/* Instead of asking on the terminal, as OpenSSL does when nothing else is said. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static int load_key(EVP_PKEY **out, const char *path, char *why, size_t cap)
{
    struct stat st;
    bool encrypted = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (f == NULL || fstat(fd, &st) < 0) {
        int rc = say(why, cap, path, strerror(errno));
        if (f != NULL)
            fclose(f);
        else if (fd >= 0)
            close(fd);
        return rc;
    }
    /* what it signs, every client of the lab believes */
    if ((st.st_mode & 077) != 0) {
        fclose(f);
        return say(why, cap, path, "group or others have access to this key: chmod 600");
    }
    ERR_clear_error();
    setvbuf(f, NULL, _IONBF, 0); /* no copy of the key in a buffer that is freed as it is */
    *out = PEM_read_PrivateKey(f, NULL, no_passphrase, &encrypted);
    fclose(f);
    if (*out == NULL && encrypted)
        return say(why, cap, path, "the key is encrypted; one without a passphrase is needed");
    return *out != NULL ? 0 : tlsctx_fail(why, cap, path);
}

/* Whether clients would believe what ca signs. */
static int check_ca(const struct mint_ca *ca, const char *path, char *why, size_t cap)
{
    X509 *x = sk_X509_value(ca->chain, 0);
    uint32_t flags = X509_get_extension_flags(x);
    char at[CLOCK_TEXT];
    if ((flags & EXFLAG_INVALID) != 0)
        return say(why, cap, path, "the certificate has extensions that make no sense");
    if ((flags & EXFLAG_CA) == 0)
        return say(why, cap, path, "no CA certificate: its basicConstraints do not say CA:TRUE");
    if ((X509_get_key_usage(x) & KU_KEY_CERT_SIGN) == 0) /* all bits are set where nothing is said */
        return say(why, cap, path, "its keyUsage does not allow signing certificates (keyCertSign)");
    if ((X509_get_extended_key_usage(x) & (XKU_SSL_SERVER | XKU_ANYEKU)) == 0)
        return say(why, cap, path, "its extendedKeyUsage does not allow certificates of servers");
    int64_t now = clock_true_ms() / 1000;
    if (now < ca->from) {
        clock_format(at, ca->from * 1000);
        snprintf(why, cap, "%s: not yet valid, but from %s on", path, at);
        return ERR_TLS;
    }
    return mint_ca_check_expiry(ca, why, cap);
}

static int load_ca(struct mint_ca *ca, const char *certificate, const char *key, char *why, size_t cap)
{
    int rc = load_chain(ca->chain, certificate, why, cap);
    if (rc == 0 && !mint_ca_read_dates(ca))
        rc = say(why, cap, certificate, "dates that cannot be read");
    if (rc == 0)
        rc = check_ca(ca, certificate, why, cap);
    if (rc == 0)
        rc = load_key(&ca->key, key, why, cap);
    if (rc == 0 && X509_check_private_key(sk_X509_value(ca->chain, 0), ca->key) != 1) {
        ERR_clear_error();
        snprintf(why, cap, "%s is not the key of %s", key, certificate);
        rc = ERR_TLS;
    }
    return rc;
}

/* ---- life of a mint ---- */

static void drop(struct mint *m, struct kept *k)
{
    list_remove(&k->recent);
    list_remove(&k->bucket);
    m->count--;
    SSL_CTX_free(k->ctx);
    free(k);
}

int mint_open(struct mint **out, const char *ca_certificate, const char *ca_key, char *why, size_t cap)
{
    struct mint *m = mem_zalloc(sizeof *m);
    *out = NULL;
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->mutex, NULL);
    list_init(&m->recent);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&m->buckets[i]);
    m->ca.path = mem_strdup(ca_certificate);
    m->ca.chain = sk_X509_new_null();
    if (m->ca.chain == NULL)
        mem_fail();
    int rc = load_ca(&m->ca, ca_certificate, ca_key, why, cap);
    if (rc == 0 && (m->leaf_key = EVP_EC_gen("P-256")) == NULL)
        rc = tlsctx_fail(why, cap, "the key of certificates to come");
    if (rc < 0) {
        mint_unref(m);
        return rc;
    }
    *out = m;
    return 0;
}

struct mint *mint_ref(struct mint *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void mint_unref(struct mint *m)
{
    if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (!list_empty(&m->recent))
        drop(m, list_entry(m->recent.next, struct kept, recent));
    pthread_mutex_destroy(&m->mutex);
    EVP_PKEY_free(m->leaf_key);
    EVP_PKEY_free(m->ca.key);
    sk_X509_pop_free(m->ca.chain, X509_free);
    free(m->ca.path);
    free(m);
}

/* ---- contexts ---- */

static struct list *bucket_of(struct mint *m, const char *host, uint16_t floor)
{
    uint32_t h = 2166136261U ^ floor; /* FNV-1a: who fills a bucket on purpose gains 256 comparisons */
    for (const char *p = host; *p != '\0'; p++)
        h = (h ^ (uint8_t)*p) * 16777619U;
    return &m->buckets[h % BUCKETS];
}

/* A reference to the context kept for host, NULL where none is or it is due. Under the mutex. */
static SSL_CTX *find(struct mint *m, const char *host, uint16_t floor)
{
    struct list *bucket = bucket_of(m, host, floor);
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct kept *k = list_entry(l, struct kept, bucket);
        if (k->floor != floor || strcmp(k->host, host) != 0)
            continue;
        if (clock_wall_ms() >= k->renew_ms) {
            drop(m, k);
            return NULL;
        }
        list_remove(&k->recent);
        list_insert_before(m->recent.next, &k->recent);
        SSL_CTX_up_ref(k->ctx);
        return k->ctx;
    }
    return NULL;
}

/* Keeps a context that was just made; the one to use is returned, for another thread may have been first.
 * Under the mutex. */
static SSL_CTX *keep(struct mint *m, const char *host, uint16_t floor, SSL_CTX *ctx, int64_t renew_ms)
{
    SSL_CTX *first = find(m, host, floor);
    if (first != NULL) {
        SSL_CTX_free(ctx);
        return first;
    }
    if (m->count == MINT_CONTEXTS)
        drop(m, list_entry(m->recent.prev, struct kept, recent));
    size_t size = strlen(host) + 1;
    struct kept *k = mem_alloc(sizeof *k + size);
    *k = (struct kept){.ctx = ctx, .renew_ms = renew_ms, .floor = floor};
    memcpy(k->host, host, size);
    list_insert_before(m->recent.next, &k->recent);
    list_append(bucket_of(m, host, floor), &k->bucket);
    m->count++;
    SSL_CTX_up_ref(ctx);
    return ctx;
}

/* Sessions of one host mean nothing to another, though all contexts have the same ticket keys. */
static void session_context(const char *host, char out[SSL_MAX_SSL_SESSION_ID_LENGTH + 1])
{
    uint8_t digest[32];
    if (EVP_Digest(host, strlen(host), digest, NULL, EVP_sha256(), NULL) != 1)
        mem_fail(); /* it has no other way to fail */
    for (size_t i = 0; i < SSL_MAX_SSL_SESSION_ID_LENGTH / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

int mint_server_ctx(struct mint *m, const char *host, const struct mint_options *o, SSL_CTX **out, char *why,
                    size_t cap)
{
    uint16_t floor = o->floor != 0 ? o->floor : TLS1_2_VERSION;
    pthread_mutex_lock(&m->mutex);
    *out = find(m, host, floor);
    pthread_mutex_unlock(&m->mutex);
    if (*out != NULL)
        return 0;

    X509 *leaf;
    int64_t
        renew_in_s; /* by the wall clock, as all that ages here: dates are another matter, see mint_leaf.c */
    int rc = mint_leaf(&leaf, &m->ca, host, m->leaf_key, &renew_in_s, why, cap);
    if (rc < 0)
        return rc;
    char sessions[SSL_MAX_SSL_SESSION_ID_LENGTH + 1];
    session_context(host, sessions);
    const struct tlsctx_options options = {
        .floor = floor, .ticket_keys = o->ticket_keys, .session_context = sessions};
    const struct tlsctx_pair pair = {.certificate = leaf, .key = m->leaf_key, .chain = m->ca.chain};
    SSL_CTX *made;
    rc = tlsctx_new_server_with(&made, &options, &pair, why, cap);
    X509_free(leaf);
    if (rc < 0)
        return rc;
    /* signed outside the lock: others find their contexts meanwhile */
    pthread_mutex_lock(&m->mutex);
    *out = keep(m, host, floor, made, clock_wall_ms() + renew_in_s * 1000);
    pthread_mutex_unlock(&m->mutex);
    return 0;
}
