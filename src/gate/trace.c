/* The hub of the view: who listens, which bodies are under way, and the lines that nobody has fetched yet.
 * Told by connections in the workers' threads, asked by the admin socket in the control thread; one lock,
 * which nobody takes while nobody listens. Memory is bounded: a ring for each listener, so many open
 * requests. */
#include "gate/trace.h"

#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml_xml.h"
#include "trace_impl.h"

#define REQUESTS_MAX 1024 /* whose bodies are counted; the oldest are forgotten */
#define BUCKETS      256

struct line {
    struct line *next;
    size_t len;
    char text[];
};

struct listener_entry {
    uint32_t bit; /* 0: free */
    char id[TRACE_ID];
    char *device, *user, *ticket; /* owned, NULL: whatever */
    bool bodies;
    uint64_t fetched_ms;
    struct line *first, *last;
    size_t bytes;
    uint64_t lost;
};

/* One direction of a request: how much of its body has been told. */
struct direction {
    size_t told;
    bool over;   /* truncated or hidden, and that was told */
    bool hidden; /* not told at all */
    struct wbxml_scrub scrub;
};

struct open_request {
    struct list order; /* oldest first */
    struct list bucket;
    uint64_t id;
    struct direction way[2]; /* [1]: from the client */
};

struct trace {
    _Atomic uint32_t listening; /* the bits of all listeners */
    _Atomic uint64_t last_id;
    uv_mutex_t lock; /* of all that follows: */
    uint64_t lapse_ms;
    unsigned next_bit;
    struct listener_entry listeners[TRACE_LISTENERS_MAX];
    struct list requests;
    struct list buckets[BUCKETS];
    size_t request_count;
};

struct trace *trace_new(void)
{
    struct trace *t = mem_zalloc(sizeof *t);
    t->lapse_ms = TRACE_LAPSE_MS;
    uv_mutex_init(&t->lock);
    list_init(&t->requests);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&t->buckets[i]);
    return t;
}

/* ---- open requests ---- */

static void forget_request(struct trace *t, struct open_request *o)
{
    list_remove(&o->order);
    list_remove(&o->bucket);
    t->request_count--;
    free(o);
}

static void forget_requests(struct trace *t)
{
    while (!list_empty(&t->requests))
        forget_request(t, list_entry(t->requests.next, struct open_request, order));
}

static struct open_request *find_request(struct trace *t, uint64_t id)
{
    const struct list *bucket = &t->buckets[id % BUCKETS];
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct open_request *o = list_entry(l, struct open_request, bucket);
        if (o->id == id)
            return o;
    }
    return NULL;
}

static struct open_request *get_request(struct trace *t, uint64_t id)
{
    struct open_request *o = find_request(t, id);
    if (o != NULL)
        return o;
    if (t->request_count == REQUESTS_MAX)
        forget_request(t, list_entry(t->requests.next, struct open_request, order));
    o = mem_zalloc(sizeof *o);
    o->id = id;
    for (size_t i = 0; i < 2; i++)
        wbxml_scrub_init(&o->way[i].scrub);
    list_append(&t->requests, &o->order);
    list_append(&t->buckets[id % BUCKETS], &o->bucket);
    t->request_count++;
    return o;
}

/* Forms carry passwords in ways of their own, and what is compressed cannot be looked into. */
static bool hides_body(const struct http_head *head)
{
    size_t count;
    const char *type = http_head_field(head, HTTP_NAME_CONTENT_TYPE, &count);
    if (count > 1 || (type != NULL && (strcasestr(type, "form") != NULL || strcasestr(type, "json") != NULL)))
        return true;
    const char *coding = http_head_field(head, HTTP_NAME_CONTENT_ENCODING, &count);
    return count > 1 || (coding != NULL && strcasecmp(coding, "identity") != 0);
}

/* ---- listeners ---- */

static void drop_line(struct listener_entry *l)
{
    struct line *line = l->first;
    l->first = line->next;
    if (l->first == NULL)
        l->last = NULL;
    l->bytes -= line->len;
    mem_wipe(line->text, line->len); /* mail of people */
    free(line);
}

static void end_listener(struct trace *t, struct listener_entry *l)
{
    atomic_fetch_and_explicit(&t->listening, ~l->bit, memory_order_relaxed);
    while (l->first != NULL)
        drop_line(l);
    free(l->device);
    free(l->user);
    free(l->ticket);
    memset(l, 0, sizeof *l);
    if (atomic_load_explicit(&t->listening, memory_order_relaxed) == 0)
        forget_requests(t);
}

/* Takes the lock, and lets go of who has not fetched for too long. */
static void enter(struct trace *t)
{
    uv_mutex_lock(&t->lock);
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        struct listener_entry *l = &t->listeners[i];
        if (l->bit != 0 && now - l->fetched_ms >= t->lapse_ms)
            end_listener(t, l);
    }
}

static void leave(struct trace *t)
{
    uv_mutex_unlock(&t->lock);
}

void trace_free(struct trace *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        if (t->listeners[i].bit != 0)
            end_listener(t, &t->listeners[i]);
    }
    uv_mutex_destroy(&t->lock);
    free(t);
}

/* The line goes to those of the set who are there. */
static void deliver(struct trace *t, uint32_t set, bool body, const char *text, size_t len)
{
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        struct listener_entry *l = &t->listeners[i];
        if ((l->bit & set) == 0 || (body && !l->bodies))
            continue;
        struct line *line = mem_alloc(sizeof *line + len);
        line->next = NULL;
        line->len = len;
        memcpy(line->text, text, len);
        if (l->last != NULL)
            l->last->next = line;
        else
            l->first = line;
        l->last = line;
        l->bytes += len;
        for (; l->bytes > TRACE_RING_MAX; l->lost++)
            drop_line(l);
    }
}

static bool wants(const char *filter, const char *what)
{
    return filter == NULL || (what != NULL && strcasecmp(filter, what) == 0);
}

static bool wants_device(const char *filter, const char *device)
{
    if (filter == NULL || filter[0] == '\0')
        return true;
    return device != NULL && device[0] != '\0' && eas_same_device(filter, device);
}

/* Those of the set whom the lock's holder finds listening. */
static uint32_t present(const struct trace *t, uint32_t set)
{
    return atomic_load_explicit(&t->listening, memory_order_relaxed) & set;
}

/* ---- telling ---- */

bool trace_is_on(const struct trace *t)
{
    return t != NULL && atomic_load_explicit(&t->listening, memory_order_relaxed) != 0;
}

uint64_t trace_next_id(struct trace *t)
{
    return t != NULL ? atomic_fetch_add_explicit(&t->last_id, 1, memory_order_relaxed) + 1 : 1;
}

uint32_t trace_begin(struct trace *t, const struct trace_who *who)
{
    uint32_t set = 0;
    if (!trace_is_on(t))
        return 0;
    enter(t);
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        const struct listener_entry *l = &t->listeners[i];
        if (l->bit != 0 && wants_device(l->device, who->device) && wants(l->user, who->user) &&
            wants(l->ticket, who->ticket))
            set |= l->bit;
    }
    leave(t);
    return set;
}

/* Whether it is worth making a line: most conversations have nobody. */
static bool has_listeners(const struct trace *t, uint32_t set)
{
    return set != 0 && t != NULL && present(t, set) != 0;
}

bool trace_wants_bodies(struct trace *t, uint32_t set)
{
    bool wanted = false;
    if (!has_listeners(t, set))
        return false;
    enter(t);
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++)
        wanted |= (t->listeners[i].bit & set) != 0 && t->listeners[i].bodies;
    leave(t);
    return wanted;
}

/* Takes line. */
static void tell(struct trace *t, uint32_t set, char *line, size_t len)
{
    enter(t);
    deliver(t, set, false, line, len);
    leave(t);
    free(line);
}

void trace_request(struct trace *t, uint32_t set, uint64_t id, const struct trace_request *r)
{
    size_t len;
    if (!has_listeners(t, set))
        return;
    char *line = trace_line_request(id, r, &len);
    enter(t);
    if (present(t, set) != 0)
        get_request(t, id)->way[1].hidden = r->head != NULL && hides_body(r->head);
    deliver(t, set, false, line, len);
    leave(t);
    free(line);
}

/* Bytes of a body with the lock held. */
static void tell_body(struct trace *t, uint32_t set, struct open_request *o, bool from_client,
                      const uint8_t *data, size_t len)
{
    struct direction *w = &o->way[from_client];
    size_t room = TRACE_BODY_MAX - w->told, some = len < room ? len : room, line_len;
    enum trace_more more = TRACE_MORE;
    uint8_t *copy = mem_alloc(some);
    memcpy(copy, data, some);
    size_t shown = w->hidden ? 0 : wbxml_scrub_feed(&w->scrub, copy, some);
    if (shown < len)
        more = w->hidden ? TRACE_HIDDEN : TRACE_TRUNCATED;
    w->told += shown;
    w->over = more != TRACE_MORE;
    char *line = trace_line_body(o->id, from_client, copy, shown, more, &line_len);
    deliver(t, set, true, line, line_len);
    mem_wipe(copy, some);
    free(copy);
    free(line);
}

void trace_body(struct trace *t, uint32_t set, uint64_t id, bool from_client, const uint8_t *data, size_t len)
{
    if (len == 0 || !has_listeners(t, set))
        return;
    enter(t);
    if (present(t, set) != 0) {
        struct open_request *o = get_request(t, id);
        if (!o->way[from_client].over)
            tell_body(t, set, o, from_client, data, len);
    }
    leave(t);
}

void trace_answer(struct trace *t, uint32_t set, uint64_t id, const struct http_head *head)
{
    size_t len;
    if (!has_listeners(t, set))
        return;
    char *line = trace_line_answer(id, head, &len);
    tell(t, set, line, len);
}

void trace_end(struct trace *t, uint32_t set, uint64_t id, const struct trace_end *e)
{
    size_t len;
    if (!has_listeners(t, set))
        return;
    char *line = trace_line_end(id, e, &len);
    enter(t);
    struct open_request *o = find_request(t, id);
    if (o != NULL)
        forget_request(t, o);
    deliver(t, set, false, line, len);
    leave(t);
    free(line);
}

void trace_tunnel(struct trace *t, uint32_t set, uint64_t id, const struct trace_tunnel *f)
{
    size_t len;
    if (!has_listeners(t, set))
        return;
    char *line = trace_line_tunnel(id, f, &len);
    tell(t, set, line, len);
}

/* ---- listening ---- */

/* Bits go round, so that a conversation of before is not taken for one that a newcomer asked for. */
static uint32_t free_bit(struct trace *t)
{
    uint32_t taken = atomic_load_explicit(&t->listening, memory_order_relaxed), bit;
    do
        bit = UINT32_C(1) << (t->next_bit++ % 32);
    while ((taken & bit) != 0);
    return bit;
}

static char *copy_filter(const char *s)
{
    return s != NULL && s[0] != '\0' ? mem_strdup(s) : NULL;
}

static struct listener_entry *find_listener(struct trace *t, const char *id)
{
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        if (t->listeners[i].bit != 0 && strcmp(t->listeners[i].id, id) == 0)
            return &t->listeners[i];
    }
    return NULL;
}

static void begin_listener(struct trace *t, struct listener_entry *l, const struct trace_filter *f)
{
    uint8_t random[TRACE_ID / 2];
    if (RAND_bytes(random, sizeof random) != 1)
        mem_fail();
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(l->id + 2 * i, 3, "%02x", random[i]);
    l->bit = free_bit(t);
    l->device = copy_filter(f->device);
    l->user = copy_filter(f->user);
    l->ticket = copy_filter(f->ticket);
    l->bodies = f->bodies;
    l->fetched_ms = clock_mono_ms();
    atomic_fetch_or_explicit(&t->listening, l->bit, memory_order_relaxed);
}

int trace_listen(struct trace *t, const struct trace_filter *f, char id[TRACE_ID])
{
    int rc = ERR_LIMIT;
    enter(t);
    for (size_t i = 0; rc != 0 && i < TRACE_LISTENERS_MAX; i++) {
        struct listener_entry *l = &t->listeners[i];
        if (l->bit != 0)
            continue;
        begin_listener(t, l, f);
        memcpy(id, l->id, TRACE_ID);
        rc = 0;
    }
    leave(t);
    return rc;
}

static int fetch(struct listener_entry *l, struct buf *out)
{
    size_t begin = out->len, len;
    if (l->lost > 0) {
        char *line = trace_line_lost(l->lost, &len);
        int rc = buf_append(out, line, len);
        free(line);
        if (rc != 0)
            return rc;
        l->lost = 0;
    }
    while (l->first != NULL && out->len - begin < TRACE_READ_MAX) {
        int rc = buf_append(out, l->first->text, l->first->len);
        if (rc != 0)
            return rc;
        drop_line(l);
    }
    return 0;
}

int trace_fetch(struct trace *t, const char *id, struct buf *out)
{
    enter(t);
    struct listener_entry *l = find_listener(t, id);
    int rc = ERR_NOT_FOUND;
    if (l != NULL) {
        l->fetched_ms = clock_mono_ms();
        rc = fetch(l, out);
    }
    leave(t);
    return rc;
}

int trace_unlisten(struct trace *t, const char *id)
{
    enter(t);
    struct listener_entry *l = find_listener(t, id);
    if (l != NULL)
        end_listener(t, l);
    leave(t);
    return l != NULL ? 0 : ERR_NOT_FOUND;
}

void trace_set_lapse_ms(struct trace *t, uint64_t ms)
{
    enter(t);
    t->lapse_ms = ms;
    leave(t);
}
