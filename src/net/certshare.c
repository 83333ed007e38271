/* A small table, the oldest entry gives way: a program talks to a few servers, and chains are short. */
#include "net/certshare.h"

#include <pthread.h>

#define KEPT 64

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static X509 *kept[KEPT];
static unsigned next;

/* An equal one with a reference for the caller; NULL where x itself is kept from now on. */
static X509 *find(X509 *x)
{
    X509 *known = NULL;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < KEPT && kept[i] != NULL && known == NULL; i++)
        if (X509_cmp(kept[i], x) == 0)
            known = kept[i];
    if (known != NULL) {
        X509_up_ref(known);
    } else {
        X509_free(kept[next]);
        X509_up_ref(x);
        kept[next] = x;
        next = (next + 1) % KEPT;
    }
    pthread_mutex_unlock(&mutex);
    return known;
}

void certshare_chain(STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i), *known = find(x);
        if (known == NULL)
            continue;
        sk_X509_set(chain, i, known);
        X509_free(x);
    }
}
