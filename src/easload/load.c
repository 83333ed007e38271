/* Time is a queue of what is due: phones by their next step (a heap), the next arrival or departure, the next
 * event, the second's tick. One timer of the kernel's wakes us for the first of them, to the microsecond.
 * Nothing here waits for an answer before it looks at the clock again: what is due is begun when it is due,
 * and what cannot be begun since the phone is still busy counts from when it was due.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/mem.h"

#define NS_PER_MS   1000000ull
#define SECOND_NS   1000000000ull
#define NEVER       UINT64_MAX
#define BACKOFF_MIN 1000 /* ms, after a failed step where nothing else says when the next is due */
#define BACKOFF_MAX 60000
#define CLOSE_MS    3000 /* phones have so long to close at the end */

struct actor { /* a phone, and what it does next */
    struct phone phone;
    struct load *load;
    struct heap_node due; /* ns of clock_mono_ns() */
    uint64_t ready_ns;    /* when it could have been begun */
    uint32_t index;       /* among all phones of the run, 0 first */
    uint16_t kind;
    uint16_t failures; /* in a row */
    uint8_t next;      /* step to do */
    bool started;      /* the first steps are done */
    bool present;      /* has arrived, and has not left */
    bool dropped;      /* lets go because the scenario says so */
    bool late;         /* that is what to count from */
    uint64_t turn_ns;  /* open model: when this turn was due */
};

struct kind_state {
    const struct kind_settings *settings;
    struct phone_kind *phone;
    int64_t current; /* of the weighted turns */
};

struct load {
    struct load_options o;
    struct phone_world world;
    struct kind_state *kinds;
    size_t kind_count;
    struct actor **actors; /* owned, by order of arrival */
    size_t actor_count, actor_cap, present;
    uint32_t next_index; /* of the next one to be made, all parts counted */
    struct heap heap;    /* of actors, by when they are due */
    struct stage_settings stages[2];
    const struct stage_settings *stage; /* current */
    size_t stages_left;
    int64_t stage_from, stage_done; /* phones at its start; arrivals or departures so far */
    uint64_t stage_ns;              /* when it began */
    size_t events_done;
    uint64_t start_ns, end_ns, tick_ns, closing_ns;
    int64_t goal;       /* phones there should be now, all parts counted */
    struct hist second; /* of the second that runs */
    uint64_t second_requests, second_errors;
    uint64_t random;
    int timer;
    uint64_t armed_ns;
    uv_poll_t poll;
    uv_check_t check;
    unsigned handles; /* of the loop's, still open */
    bool over, told;
};

/* ---- chance ---- */

/* splitmix64: fast, and the same everywhere. */
static uint64_t chance(struct load *l)
{
    uint64_t z = (l->random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t up_to(struct load *l, uint64_t n)
{
    return n > 0 ? chance(l) % n : 0;
}

/* ---- what is due ---- */

static void unschedule(struct actor *a)
{
    heap_remove(&a->load->heap, &a->due);
}

static void schedule(struct actor *a, uint64_t due_ns)
{
    uint64_t now = clock_mono_ns();
    a->ready_ns = now < due_ns ? due_ns : now;
    heap_set(&a->load->heap, &a->due, (int64_t)due_ns);
}

/* ---- the timer ---- */

static uint64_t first_stage_due(const struct load *l);
static uint64_t next_event_due(const struct load *l);

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void arm(struct load *l)
{
    uint64_t due = l->tick_ns;
    if (!l->over) {
        due = least(due, l->end_ns);
        due = least(due, first_stage_due(l));
        due = least(due, next_event_due(l));
        if (heap_first(&l->heap) != NULL)
            due = least(due, (uint64_t)heap_first(&l->heap)->due);
    }
    if (due == l->armed_ns)
        return;
    l->armed_ns = due;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due / SECOND_NS), .tv_nsec = (long)(due % SECOND_NS)}};
    if (due == 0)
        when.it_value.tv_nsec = 1; /* 0 would disarm it */
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- what a phone does next ---- */

static const struct conf_list *steps_of(const struct actor *a)
{
    const struct kind_settings *k = a->load->kinds[a->kind].settings;
    return a->started ? &k->repeat_steps : &k->start_steps;
}

static void begin(struct actor *a)
{
    const struct conf_list *steps = steps_of(a);
    struct results *r = a->load->o.results;
    if (a->late) {
        hist_add(&r->row[ROW_LAG].times, (clock_mono_ns() - a->ready_ns) / 1000);
        r->row[ROW_LAG].count++;
    }
    a->phone.due_ns = a->late ? (uint64_t)a->due.due : 0;
    a->late = false;
    phone_do(&a->phone, (enum step)((const int *)steps->items)[a->next]);
}

/* A turn of the repeated steps is over; when is the next? */
static void next_turn(struct actor *a)
{
    struct load *l = a->load;
    const struct kind_settings *k = l->kinds[a->kind].settings;
    uint64_t now = clock_mono_ns();
    a->next = 0;
    if (k->fresh) {
        device_reset(&a->phone.device);
        phone_drop(&a->phone);
    }
    if (k->every_ms > 0) {
        uint64_t every = (uint64_t)k->every_ms * NS_PER_MS;
        a->turn_ns = a->turn_ns == 0 ? now + up_to(l, every) : a->turn_ns + every;
        a->late = true;
        schedule(a, a->turn_ns);
    } else {
        schedule(a, now + (uint64_t)k->pause_ms * NS_PER_MS);
    }
}

static void step_went_well(struct actor *a)
{
    a->failures = 0;
    if (++a->next < steps_of(a)->count) {
        schedule(a, clock_mono_ns());
        return;
    }
    a->started = true;
    if (steps_of(a)->count > 0)
        next_turn(a);
}

static void step_failed(struct actor *a)
{
    struct load *l = a->load;
    const struct kind_settings *k = l->kinds[a->kind].settings;
    if (a->dropped) { /* as on purpose: at once again */
        a->dropped = false;
        a->late = true;
        schedule(a, clock_mono_ns());
        return;
    }
    if (a->started && k->every_ms > 0) {
        next_turn(a);
        return;
    }
    unsigned doublings = a->failures < 6 ? a->failures : 6;
    uint64_t ms = (uint64_t)BACKOFF_MIN << doublings;
    if (a->failures < UINT16_MAX)
        a->failures++;
    ms = ms < BACKOFF_MAX ? ms : BACKOFF_MAX;
    schedule(a, clock_mono_ns() + (ms / 2 + up_to(l, ms)) * NS_PER_MS);
}

/* ---- what phones tell ---- */

static void on_ticket(struct phone *p, const struct failure *why, uint64_t us)
{
    struct results *r = ((struct actor *)p->owner)->load->o.results;
    r->row[ROW_TICKET].count++;
    if (why == NULL)
        hist_add(&r->row[ROW_TICKET].times, us);
    else
        results_failed(r, ROW_TICKET, why->kind);
}

static void note(struct results *r, enum row row, uint64_t us)
{
    if (us == 0)
        return;
    r->row[row].count++;
    hist_add(&r->row[row].times, us);
}

static void on_opened(struct phone *p, const struct channel_times *t)
{
    struct load *l = ((struct actor *)p->owner)->load;
    struct results *r = l->o.results;
    uint64_t all = t->tcp_us + t->tls_us + t->tunnel_us + t->inner_us;
    note(r, ROW_TCP, t->tcp_us);
    note(r, ROW_TLS, t->tls_us);
    note(r, ROW_TUNNEL, t->tunnel_us);
    note(r, ROW_INNER, t->inner_us);
    note(r, ROW_OPENED, p->due_ns != 0 ? (clock_mono_ns() - p->due_ns) / 1000 : all);
    r->connections++;
    if (l->world.wire.open > r->open_max)
        r->open_max = l->world.wire.open;
}

/* The time that a Ping's answer took says nothing; that it came late does, and so does how soon a mail woke
 * it. */
static void note_ping(struct phone *p, const struct device_request *q, uint64_t us)
{
    struct results *r = ((struct actor *)p->owner)->load->o.results;
    if (p->device.stage == 0) {
        uint64_t held = 1000000ull * q->heartbeat_s;
        hist_add(&r->row[VERB_PING].times, us > held ? us - held : 0);
    } else {
        p->woken_ms = (uint64_t)clock_true_ms();
    }
}

static void on_exchange(struct phone *p, const struct device_request *q, const struct device_answer *a,
                        uint64_t us, const struct failure *why)
{
    struct load *l = ((struct actor *)p->owner)->load;
    struct results *r = l->o.results;
    (void)a;
    r->row[q->verb].count++;
    l->second_requests++;
    if (p->due_ns != 0)
        us = (clock_mono_ns() - p->due_ns) / 1000;
    p->due_ns = 0;
    if (why != NULL) {
        l->second_errors++;
        results_failed(r, (enum row)q->verb, why->kind);
    } else if (q->verb == VERB_PING) {
        note_ping(p, q, us);
    } else {
        hist_add(&r->row[q->verb].times, us);
        hist_add(&l->second, us);
    }
}

/* A Ping that was open when the mail came: how long until it was told, and until the mail was there. */
static void note_wake(struct phone *p)
{
    struct results *r = ((struct actor *)p->owner)->load->o.results;
    int64_t mail = p->device.newest_ms, now = clock_true_ms();
    if (p->woken_ms == 0 || mail < (int64_t)p->pinged_ms || mail > (int64_t)p->woken_ms)
        return;
    note(r, ROW_WAKE,
         (uint64_t)((int64_t)p->woken_ms - mail) * 1000 + 500); /* the middle of that millisecond */
    note(r, ROW_SYNCED, (uint64_t)(now - mail) * 1000 + 500);
}

static void on_done(struct phone *p, enum step step, const struct failure *why)
{
    struct actor *a = p->owner;
    struct load *l = a->load;
    if (why == NULL && step == STEP_PING)
        note_wake(p);
    if (l->world.requests_left == 0)
        return;
    if (why != NULL && strcmp(why->kind, "dropped") == 0) {
        l->o.results->dropped++;
    } else if (why != NULL && !p->told) { /* the connection failed, or the phone could not even begin */
        results_failed(l->o.results, ROW_OPENED, why->kind);
        l->second_errors++;
    }
    if (l->over || !a->present)
        return;
    if (why == NULL)
        step_went_well(a);
    else
        step_failed(a);
}

static const struct phone_events events = {
    .on_ticket = on_ticket, .on_opened = on_opened, .on_exchange = on_exchange, .on_done = on_done};

/* ---- arrivals and departures ---- */

/* Which kind the next phone is of: in turn, by shares. */
static uint16_t next_kind(struct load *l)
{
    int64_t total = 0;
    size_t best = 0;
    for (size_t i = 0; i < l->kind_count; i++) {
        int64_t share = l->kind_count > 1 ? l->kinds[i].settings->share : 1;
        l->kinds[i].current += share;
        total += share;
        if (l->kinds[i].current > l->kinds[best].current)
            best = i;
    }
    l->kinds[best].current -= total;
    return (uint16_t)best;
}

static struct actor *make_actor(struct load *l, uint32_t index, uint16_t kind)
{
    const struct settings *s = l->o.settings;
    struct actor *a = mem_zalloc(sizeof *a);
    unsigned number = (unsigned)(s->first + index);
    char *user = setup_name(s->user, number), *device = setup_name(s->device, number);
    a->load = l;
    a->index = index;
    a->kind = kind;
    phone_init(&a->phone, &l->world, l->kinds[kind].phone, user, device, a);
    if (l->o.setup->ticket_count > 0)
        phone_set_ticket(&a->phone, l->o.setup->ticket_list[index % l->o.setup->ticket_count]);
    free(user);
    free(device);
    if (l->actor_count == l->actor_cap) {
        l->actor_cap = l->actor_cap ? 2 * l->actor_cap : 256;
        l->actors = mem_realloc(l->actors, l->actor_cap * sizeof *l->actors);
    }
    l->actors[l->actor_count++] = a;
    if (l->actor_count > l->o.results->devices)
        l->o.results->devices = l->actor_count;
    return a;
}

/* Phones of this process are those whose index, among all, falls to it; they come in order, and leave in
 * reverse. */
static bool is_ours(const struct load *l, int64_t index)
{
    return (uint64_t)index % l->o.parts == l->o.part;
}

static void arrive(struct load *l, uint64_t due_ns)
{
    uint32_t index = (uint32_t)l->goal++;
    uint16_t kind = 0;
    if (index == l->next_index) {
        l->next_index++;
        kind = next_kind(l);
    }
    if (!is_ours(l, index))
        return;
    size_t at = index / l->o.parts;
    struct actor *a = at < l->actor_count ? l->actors[at] : make_actor(l, index, kind);
    l->present++;
    a->present = true;
    a->started = false;
    a->next = 0;
    a->turn_ns = 0;
    a->late = true;
    schedule(a, due_ns);
}

static void leave(struct load *l)
{
    if (!is_ours(l, --l->goal))
        return;
    struct actor *a = l->actors[--l->present];
    a->present = false;
    unschedule(a);
    phone_drop(&a->phone);
}

/* When the next phone comes or goes in the current stage, or the stage ends. */
static uint64_t first_stage_due(const struct load *l)
{
    if (l->stage == NULL)
        return NEVER;
    uint64_t length = (uint64_t)l->stage->for_ms * NS_PER_MS;
    int64_t change = l->stage->devices - l->stage_from, n = change > 0 ? change : -change;
    if (l->stage_done >= n)
        return l->stage_ns + length;
    int64_t k = change > 0 ? l->stage_done : l->stage_done + 1;
    return l->stage_ns + (uint64_t)((double)length * (double)k / (double)n);
}

static void run_stage(struct load *l, uint64_t now)
{
    uint64_t due;
    while (l->stage != NULL && (due = first_stage_due(l)) <= now) {
        int64_t change = l->stage->devices - l->stage_from, n = change > 0 ? change : -change;
        if (l->stage_done < n) {
            l->stage_done++;
            if (change > 0)
                arrive(l, due);
            else
                leave(l);
            continue;
        }
        l->stage_from = l->stage->devices;
        l->stage_done = 0;
        l->stage_ns += (uint64_t)l->stage->for_ms * NS_PER_MS;
        l->stage = --l->stages_left > 0 ? l->stage + 1 : NULL;
    }
}

static void plan_stages(struct load *l)
{
    const struct settings *s = l->o.settings;
    l->stage_ns = l->start_ns;
    if (s->stages.count > 0) {
        l->stage = s->stages.items;
        l->stages_left = s->stages.count;
        return;
    }
    int64_t ramp = s->ramp_ms < s->duration_ms ? s->ramp_ms : s->duration_ms;
    l->stages[0] = (struct stage_settings){.for_ms = ramp, .devices = s->devices};
    l->stages[1] = (struct stage_settings){.for_ms = s->duration_ms - ramp, .devices = s->devices};
    l->stage = l->stages;
    l->stages_left = 2;
}

/* ---- events ---- */

static uint64_t next_event_due(const struct load *l)
{
    const struct event_settings *list = l->o.settings->events.items;
    uint64_t due = NEVER;
    for (size_t i = l->events_done; i < l->o.settings->events.count; i++)
        due = least(due, l->start_ns + (uint64_t)list[i].at_ms * NS_PER_MS);
    return due;
}

static void happen(struct load *l, const struct event_settings *e)
{
    for (size_t i = 0; i < l->present; i++) {
        struct actor *a = l->actors[i];
        if ((int64_t)(a->index % 100) >= e->share)
            continue;
        if (e->action == EVENT_NEW_TICKET)
            phone_set_ticket(&a->phone, NULL);
        a->dropped = a->phone.phase != PHONE_IDLE;
        phone_drop(&a->phone);
        a->dropped = false;
    }
}

/* In the order in which they are written; one that is written behind a later one waits for it. */
static void run_events(struct load *l, uint64_t now)
{
    const struct event_settings *list = l->o.settings->events.items;
    while (l->events_done < l->o.settings->events.count &&
           l->start_ns + (uint64_t)list[l->events_done].at_ms * NS_PER_MS <= now)
        happen(l, &list[l->events_done++]);
}

/* ---- every second, and the end ---- */

static void tick(struct load *l, uint64_t now)
{
    struct results *r = l->o.results;
    const struct result_bin b = {.requests = l->second_requests,
                                 .errors = l->second_errors,
                                 .p50_us = hist_at(&l->second, 0.5),
                                 .p99_us = hist_at(&l->second, 0.99),
                                 .max_us = l->second.max_us,
                                 .devices = (uint32_t)l->present,
                                 .open = (uint32_t)l->world.wire.open,
                                 .waiting = (uint32_t)l->world.waiting};
    l->tick_ns += SECOND_NS;
    if (l->over)
        return;
    results_second(r, &b);
    hist_deinit(&l->second);
    l->second_requests = l->second_errors = 0;
    const struct load_view v = {.seconds = (double)(now - l->start_ns) / 1e9,
                                .devices = l->present,
                                .open = l->world.wire.open,
                                .waiting = l->world.waiting,
                                .requests = results_requests(r),
                                .failures = results_failures(r),
                                .last = b};
    if (l->o.on_second != NULL)
        l->o.on_second(l->o.owner, &v);
}

/* The last requests are answered, but for Pings, which may take long. */
static bool is_anybody_asking(const struct load *l)
{
    for (size_t i = 0; i < l->actor_count; i++)
        if (l->actors[i]->phone.phase == PHONE_ASKED && !phone_is_waiting(&l->actors[i]->phone))
            return true;
    return false;
}

static bool is_all_closed(const struct load *l)
{
    for (size_t i = 0; i < l->actor_count; i++)
        if (!phone_is_closed(&l->actors[i]->phone))
            return false;
    return true;
}

static void measure_self(struct load *l)
{
    struct rusage u;
    struct results *r = l->o.results;
    getrusage(RUSAGE_SELF, &u);
    r->cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    r->rss_kb = (uint64_t)u.ru_maxrss;
    r->lasted_ms = (int64_t)((clock_mono_ns() - l->start_ns) / NS_PER_MS);
    r->bytes_in = l->world.bytes_in;
    r->bytes_out = l->world.bytes_out;
}

void load_stop(struct load *l)
{
    if (l->over)
        return;
    l->over = true;
    measure_self(l);
    uint64_t dropped = l->o.results->dropped; /* those of the scenario; ending is none of them */
    for (size_t i = 0; i < l->actor_count; i++)
        phone_drop(&l->actors[i]->phone);
    l->o.results->dropped = dropped;
    l->closing_ns = clock_mono_ns() + CLOSE_MS * NS_PER_MS;
    l->tick_ns = clock_mono_ns();
    arm(l);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct load *l = h->data;
    if (--l->handles > 0)
        return;
    close(l->timer);
    l->o.on_over(l->o.owner);
}

static void finish(struct load *l)
{
    if (l->told)
        return;
    l->told = true;
    uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    uv_close((uv_handle_t *)&l->check, on_handle_closed);
}

static void begin_due(struct load *l)
{
    int64_t now = (int64_t)clock_mono_ns();
    for (struct heap_node *n; !l->over && (n = heap_first(&l->heap)) != NULL && n->due <= now;) {
        struct actor *a = list_entry(n, struct actor, due);
        unschedule(a);
        if (a->phone.phase == PHONE_IDLE)
            begin(a);
    }
}

static void on_timer(uv_poll_t *p, int status, int what)
{
    struct load *l = p->data;
    uint64_t expirations, now = clock_mono_ns();
    (void)status, (void)what;
    if (read(l->timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        return;
    l->armed_ns = NEVER;
    if (!l->over && now >= l->end_ns)
        load_stop(l);
    if (!l->over) {
        run_stage(l, now);
        run_events(l, now);
        begin_due(l);
    }
    if (now >= l->tick_ns)
        tick(l, now);
    if (l->over && (is_all_closed(l) || now >= l->closing_ns)) {
        finish(l);
        return;
    }
    if (l->over) /* look again soon */
        l->tick_ns = now + 20 * NS_PER_MS;
    arm(l);
}

/* After everything else in a turn of the loop: steps that became due in it, and when to wake next. */
static void on_check(uv_check_t *c)
{
    struct load *l = c->data;
    if (l->told || l->over)
        return;
    if (l->world.requests_left == 0 && !is_anybody_asking(l))
        l->end_ns = 0;
    begin_due(l);
    arm(l);
}

/* ---- making and freeing ---- */

static void make_kinds(struct load *l)
{
    const struct settings *s = l->o.settings;
    const struct kind_settings *list = s->kinds.count > 0 ? s->kinds.items : &s->kind;
    l->kind_count = l->o.setup->kind_count;
    l->kinds = mem_zalloc(l->kind_count * sizeof *l->kinds);
    for (size_t i = 0; i < l->kind_count; i++)
        l->kinds[i] = (struct kind_state){.settings = &list[i], .phone = &l->o.setup->kinds[i]};
}

struct load *load_new(const struct load_options *o)
{
    struct load *l = mem_zalloc(sizeof *l);
    const struct settings *s = o->settings;
    l->o = *o;
    phone_world_init(&l->world, o->loop, &events, o->deadline_list);
    l->world.answer_ms = l->world.wire.open_ms = (uint64_t)s->timeout_ms;
    l->world.wire.resume = s->resumption;
    make_kinds(l);
    l->random = (uint64_t)s->seed * 0x9e3779b97f4a7c15ull + o->part;
    l->world.requests_left = (uint64_t)s->requests / o->parts + ((uint64_t)s->requests % o->parts > o->part);
    l->start_ns = clock_mono_ns();
    l->end_ns = l->start_ns + (uint64_t)s->duration_ms * NS_PER_MS;
    l->tick_ns = l->start_ns + SECOND_NS;
    o->results->started_ms = clock_true_ms();
    o->results->target = mem_strdup(s->target);
    o->results->topology = mem_strdup(topology_names[s->topology]);
    plan_stages(l);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer < 0)
        mem_fail();
    uv_poll_init(&o->loop->uv, &l->poll, l->timer);
    uv_check_init(&o->loop->uv, &l->check);
    l->poll.data = l->check.data = l;
    l->handles = 2;
    uv_check_start(&l->check, on_check);
    uv_poll_start(&l->poll, UV_READABLE, on_timer);
    arm(l);
    return l;
}

void load_free(struct load *l)
{
    for (size_t i = 0; i < l->actor_count; i++) {
        phone_deinit(&l->actors[i]->phone);
        free(l->actors[i]);
    }
    free(l->actors);
    heap_deinit(&l->heap);
    free(l->kinds);
    hist_deinit(&l->second);
    phone_world_deinit(&l->world);
    free(l);
}
