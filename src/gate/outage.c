/* Addresses that failed lately. Pure memory, no I/O. */
#include "outage.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct outages {
    size_t count; /* ever noted: the next slot is count modulo OUTAGE_SLOTS */
    struct {
        union peer_address address;
        uint64_t until_ms; /* 0: free */
    } slot[OUTAGE_SLOTS];
};

struct outages *outages_new(void)
{
    return mem_zalloc(sizeof(struct outages));
}

void outages_free(struct outages *o)
{
    free(o);
}

static bool same(const union peer_address *a, const union peer_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

static size_t find(const struct outages *o, const union peer_address *address)
{
    size_t i = 0;
    while (i < OUTAGE_SLOTS && (o->slot[i].until_ms == 0 || !same(&o->slot[i].address, address)))
        i++;
    return i;
}

void outage_note(struct outages *o, uint64_t now_ms, const union peer_address *address, bool failed)
{
    if (!failed && o->count == 0)
        return; /* the ordinary case */
    size_t i = find(o, address);
    if (!failed) {
        if (i < OUTAGE_SLOTS)
            o->slot[i].until_ms = 0;
        return;
    }
    if (i == OUTAGE_SLOTS)
        i = o->count++ % OUTAGE_SLOTS;
    o->slot[i].address = *address;
    o->slot[i].until_ms = now_ms + OUTAGE_MS;
}

static bool is_out(const struct outages *o, uint64_t now_ms, const union peer_address *address)
{
    size_t i = find(o, address);
    return i < OUTAGE_SLOTS && now_ms < o->slot[i].until_ms;
}

void outage_order(const struct outages *o, uint64_t now_ms, union peer_address *addresses, size_t count)
{
    union peer_address behind[CANDIDATES_MAX];
    size_t kept = 0, moved = 0;
    if (count < 2 || o->count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if (is_out(o, now_ms, &addresses[i]))
            behind[moved++] = addresses[i];
        else
            addresses[kept++] = addresses[i];
    }
    memcpy(addresses + kept, behind, moved * sizeof *behind);
}
