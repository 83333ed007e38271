/* What the tests of sign-in share: one check and what came of it, on a loop of the test's own. */
#ifndef STAGATE_TESTS_UNIT_SIGNIN_FIXTURE_H
#define STAGATE_TESTS_UNIT_SIGNIN_FIXTURE_H

#include "store_fixture.h"

#include "sta/signin.h"

struct signin_answer {
    unsigned count;
    unsigned by_result[SIGNIN_DOWN + 1];
    enum signin_result result; /* the last one */
    char user[300];
    char detail[400];
    bool inside; /* signin_check is running */
};

static inline void fixture_on_signin(void *owner, enum signin_result result, const char *user,
                                     const char *detail)
{
    struct signin_answer *a = owner;
    ck_assert(!a->inside);
    ck_assert((user != NULL) == (result == SIGNIN_OK));
    a->count++;
    a->by_result[result]++;
    a->result = result;
    snprintf(a->user, sizeof a->user, "%s", user ? user : "");
    snprintf(a->detail, sizeof a->detail, "%s", detail ? detail : "");
}

static inline struct signin_request *fixture_check(struct signin_client *c, const char *user,
                                                   const char *password, struct signin_answer *a)
{
    a->inside = true;
    struct signin_request *r = signin_check(c, user, password, fixture_on_signin, a);
    a->inside = false;
    return r;
}

static inline struct signin *fixture_open_signin(struct signin_options options)
{
    struct signin *s = NULL;
    int rc = signin_open(&s, &options, fixture_why, sizeof fixture_why);
    ck_assert_msg(rc == 0, "%s", fixture_why);
    return s;
}

static inline void fixture_close_signin_client(struct signin_client *c, uv_loop_t *loop)
{
    unsigned closed = 0;
    signin_client_close(c, fixture_closed, &closed);
    ck_assert_uint_eq(closed, 0); /* not from inside the call */
    fixture_run(loop, &closed, 1);
}

/* One check from beginning to end. */
static inline struct signin_answer fixture_signin(struct signin *s, const char *user, const char *password)
{
    uv_loop_t loop;
    struct signin_answer a = {0};
    uv_loop_init(&loop);
    struct signin_client *c = signin_client_new(s, &loop);
    fixture_check(c, user, password, &a);
    fixture_run(&loop, &a.count, 1);
    fixture_close_signin_client(c, &loop);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    return a;
}

static inline void fixture_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* A path in the fixture's folder; owned. */
static inline char *fixture_path(const char *name)
{
    return mem_printf("%s/%s", fixture_folder, name);
}

#endif
