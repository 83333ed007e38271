/* One HTTP request over the admin socket, on a loop of its own. Called by the commands that operate a
 * gateway. */
#include "admin_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/httpc.h"

#define ANSWER_MAX (64 * 1024 * 1024)
#define CONNECT_MS 5000
#define ANSWER_MS  120000 /* a sweep over a million tickets takes its time */
#define HTTPC_LIST 0

struct call {
    enum admin_result result;
    json_t *answer;
    struct buf *raw; /* borrowed: where an answer goes that is no JSON; NULL: it is */
    const char *socket;
};

static void complain(const struct call *c, const char *sentence, const char *detail)
{
    fprintf(stderr, "stagate: %s: %s%s%s\n", c->socket, sentence, detail != NULL ? ": " : "",
            detail != NULL ? detail : "");
}

static void on_answer(void *owner, const struct httpc_answer *a)
{
    struct call *c = owner;
    json_error_t error;
    c->result = ADMIN_FAILED;
    if (a->result != HTTPC_OK) {
        complain(c, "the gateway did not answer",
                 a->detail != NULL ? a->detail : httpc_result_name(a->result));
        return;
    }
    if (c->raw != NULL && a->status == 200) {
        c->result = buf_append(c->raw, a->body, a->len) == 0 ? ADMIN_OK : ADMIN_FAILED;
        return;
    }
    c->answer = json_loadb((const char *)a->body, a->len, 0, &error);
    if (a->status >= 200 && a->status < 300 && c->answer != NULL) {
        c->result = ADMIN_OK;
        return;
    }
    const char *message = json_string_value(json_object_get(c->answer, "message"));
    if (message != NULL)
        fprintf(stderr, "stagate: %s\n", message);
    else
        complain(c, "the gateway's answer is not understood", NULL);
    json_decref(c->answer);
    c->answer = NULL;
}

/* Whether somebody answers: a file that a killed gateway left behind is nobody. */
static bool is_alive(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof sa.sun_path)
        return false;
    memcpy(sa.sun_path, path, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    if (fd >= 0)
        close(fd);
    return alive;
}

static void ask(struct call *c, const char *method, const char *path, const char *text)
{
    struct netloop loop;
    if (netloop_init(&loop) < 0)
        return;
    const struct httpc_options options = {
        .unix_path = c->socket,
        .connections_max = 1,
        .queue_max = 1,
        .connect_ms = CONNECT_MS,
        .answer_ms = ANSWER_MS,
        .keep_ms = 1,
        .deadline_list = HTTPC_LIST,
        .body_max = ANSWER_MAX,
    };
    struct httpc *client = httpc_new(&loop, &options);
    httpc_send(client, method, path, NULL, text != NULL ? "application/json" : NULL, text,
               text != NULL ? strlen(text) : 0, false, on_answer, c);
    while (c->result == ADMIN_ABSENT)
        uv_run(&loop.uv, UV_RUN_ONCE);
    httpc_close(client, NULL, NULL);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    netloop_deinit(&loop);
}

enum admin_result admin_call(const struct settings *s, const char *method, const char *path,
                             const json_t *body, json_t **answer)
{
    struct call c = {.result = ADMIN_ABSENT, .socket = s->admin.socket};
    *answer = NULL;
    if (c.socket == NULL || !is_alive(c.socket))
        return ADMIN_ABSENT;
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    ask(&c, method, path, text);
    if (text != NULL)
        mem_wipe(text, strlen(text));
    free(text);
    *answer = c.answer;
    return c.result;
}

enum admin_result admin_fetch(const struct settings *s, const char *path, struct buf *out)
{
    struct call c = {.result = ADMIN_ABSENT, .raw = out, .socket = s->admin.socket};
    if (c.socket == NULL || !is_alive(c.socket))
        return ADMIN_ABSENT;
    ask(&c, "GET", path, NULL);
    return c.result;
}

enum admin_result admin_demand(const struct settings *s, const char *method, const char *path,
                               const json_t *body, json_t **answer)
{
    enum admin_result r = admin_call(s, method, path, body, answer);
    if (r == ADMIN_ABSENT && s->admin.socket == NULL)
        fprintf(stderr, "stagate: the configuration names no admin socket: add admin: {socket: PATH}\n");
    else if (r == ADMIN_ABSENT)
        fprintf(stderr, "stagate: no gateway answers on %s\n", s->admin.socket);
    return r;
}
