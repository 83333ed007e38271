/* Asking an authority through a client, and what it answered; for embedded and remote ones. */
#ifndef STAGATE_TESTS_UNIT_AUTHORITY_FIXTURE_H
#define STAGATE_TESTS_UNIT_AUTHORITY_FIXTURE_H

#include "service_fixture.h"

#include "../../src/sta/authority_impl.h"

#define TICKET "6C0EE48D2E8CADFEE6D1EB93BFB52A57"

static struct authority *authority;
static struct authority_client *client;

struct told { /* the last answer */
    unsigned count;
    bool inside; /* a call that may not call back is running */
    bool at_once;
    struct authority_answer answer; /* the ticket is owned */
};

static inline void told_free(struct told *t)
{
    free(t->answer.ticket);
    t->answer.ticket = NULL;
}

static inline void told_take(struct told *t, const struct authority_answer *answer)
{
    told_free(t);
    t->count++;
    t->answer = *answer;
    /* what every answer keeps to */
    ck_assert((answer->result == REDEEM_DOWN) == (answer->fail != AUTHORITY_OK));
    ck_assert((answer->result == REDEEM_DOWN) == (answer->detail != NULL));
    if (answer->result == REDEEM_DOWN || answer->result == REDEEM_UNKNOWN)
        ck_assert_ptr_null(answer->ticket);
    if (answer->result == REDEEM_OK)
        ck_assert_ptr_nonnull(answer->ticket);
}

static inline void told_cb(void *owner, const struct authority_answer *answer)
{
    struct told *t = owner;
    ck_assert(!t->inside);
    t->at_once = false;
    told_take(t, answer);
}

static inline struct authority_request *start_redeem(struct told *t, const char *value)
{
    struct ticket_ref ref = {.authority = "STA01"};
    struct authority_answer now = {.result = REDEEM_OK};
    snprintf(ref.value, sizeof ref.value, "%s", value);
    t->inside = true;
    struct authority_request *r =
        authority_client_redeem(client, &ref, 40, clock_wall_ms(), &now, told_cb, t);
    t->inside = false;
    if (r == NULL) {
        t->at_once = true;
        told_take(t, &now);
    }
    return r;
}

static inline struct authority_request *start_refresh(struct told *t, const char *value)
{
    struct ticket_ref ref = {.authority = "STA01"};
    uint8_t hash[RECORD_HASH];
    snprintf(ref.value, sizeof ref.value, "%s", value);
    record_hash(hash, value, strlen(value));
    t->inside = true;
    struct authority_request *r = authority_client_refresh(client, hash, &ref, clock_wall_ms(), told_cb, t);
    t->inside = false;
    ck_assert_ptr_nonnull(r);
    return r;
}

static inline enum redeem redeem(struct told *t, const char *value)
{
    unsigned count = t->count;
    start_redeem(t, value);
    RUN_UNTIL(t->count > count);
    ck_assert_uint_eq(t->count, count + 1);
    return t->answer.result;
}

static inline enum redeem refresh(struct told *t, const char *value)
{
    unsigned count = t->count;
    start_refresh(t, value);
    RUN_UNTIL(t->count > count);
    ck_assert_uint_eq(t->count, count + 1);
    return t->answer.result;
}

static inline void expect_down(const struct told *t, enum authority_fail fail)
{
    ck_assert_int_eq(t->answer.result, REDEEM_DOWN);
    ck_assert_msg(t->answer.fail == fail, "%s instead of %s", authority_fail_name(t->answer.fail),
                  authority_fail_name(fail));
    if (fail != AUTHORITY_STORE)
        ck_assert_str_eq(t->answer.detail, authority_fail_sentence(fail));
}

#endif
