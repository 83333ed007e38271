/* The control listener. */
#include "control.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/httpd.h"

#define BODY_MAX (32 * 1024 * 1024)

struct control {
    struct control_options o;
    struct httpd *httpd;
};

static void answer_text(struct httpd_request *r, unsigned status, const char *text)
{
    httpd_answer(r, status, NULL, "text/plain; charset=utf-8", text, strlen(text));
}

static void answer_json(struct httpd_request *r, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    httpd_answer(r, 200, NULL, "application/json", text, strlen(text));
    free(text);
    json_decref(value);
}

static void deliver(struct control *c, struct httpd_request *r)
{
    char user[128], subject[256];
    size_t len;
    const uint8_t *body = httpd_body(r, &len);
    const char *query = httpd_query(r);
    if (!httpd_query_value(query, "user", user, sizeof user) || user[0] == '\0') {
        answer_text(r, 400, "user is missing\n");
        return;
    }
    struct box *box = boxes_open(c->o.boxes, user);
    if (box == NULL) {
        answer_text(r, 503, "there are too many mailboxes\n");
        return;
    }
    if (len > 0) {
        struct letter *l = letter_from_mime(body, len, clock_wall_ms());
        if (l == NULL) {
            answer_text(r, 400, "the body is no message: it has no header\n");
            return;
        }
        box_deliver(c->o.boxes, box, l);
        letter_unref(l);
    } else if (httpd_query_value(query, "subject", subject, sizeof subject) && subject[0] != '\0') {
        const struct mail m = {.from = "\"Carol Sender\" <carol@example.com>",
                               .to = user,
                               .cc = "",
                               .bcc = "",
                               .reply_to = "",
                               .subject = subject,
                               .text = "A mail that has just arrived.\r\n",
                               .received_ms = clock_wall_ms(),
                               .importance = MAIL_IMPORTANCE_NORMAL};
        struct letter *l = letter_from_mail(&m);
        box_deliver(c->o.boxes, box, l);
        letter_unref(l);
    } else {
        box_deliver(c->o.boxes, box, NULL);
    }
    httpd_answer(r, 204, NULL, NULL, NULL, 0);
}

static void list_faults(struct control *c, struct httpd_request *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < faults_count(c->o.faults); i++) {
        char text[512];
        faults_describe(c->o.faults, i, text, sizeof text);
        json_array_append_new(list, json_string(text));
    }
    answer_json(r, list);
}

static void add_fault(struct control *c, struct httpd_request *r)
{
    size_t len;
    const char *body = (const char *)httpd_body(r, &len), *why;
    char text[512];
    if (len >= sizeof text) {
        answer_text(r, 400, "that is too long for a fault\n");
        return;
    }
    if (len > 0)
        memcpy(text, body, len);
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (faults_add(c->o.faults, text, &why) == 0) {
        list_faults(c, r);
        return;
    }
    char *message = mem_printf("%s\n", why);
    answer_text(r, 400, message);
    free(message);
}

static const char *const wipes[] = {"no", "pending", "told", "done"};

static void describe_device(const struct box *box, const struct device *d, json_t *list)
{
    json_t *o = json_object();
    json_object_set_new(o, "user", json_string(box->user));
    json_object_set_new(o, "device", json_string(d->id));
    json_object_set_new(o, "type", json_string(d->type));
    json_object_set_new(o, "information", d->info != NULL ? json_string(d->info) : json_null());
    json_object_set_new(o, "policy", json_boolean(d->policy_key != 0));
    json_object_set_new(o, "waiting", json_boolean(d->waiter != NULL));
    json_object_set_new(o, "blocked", json_boolean(d->blocked));
    json_object_set_new(o, "wipe", json_string(wipes[d->wipe]));
    json_array_append_new(list, o);
}

static void list_box(struct box *box, void *owner)
{
    for (size_t i = 0; i < box->device_count; i++)
        describe_device(box, box->devices[i], owner);
}

static void change_device(struct control *c, struct httpd_request *r)
{
    char user[128] = "", device[128] = "", what[32] = "";
    const char *query = httpd_query(r);
    httpd_query_value(query, "user", user, sizeof user);
    httpd_query_value(query, "device", device, sizeof device);
    httpd_query_value(query, "do", what, sizeof what);
    struct box *box = boxes_find(c->o.boxes, user);
    struct device *d = box != NULL ? box_find_device(box, device) : NULL;
    if (d == NULL) {
        answer_text(r, 404, "no such user has had such a device here\n");
        return;
    }
    if (strcmp(what, "wipe") == 0 || strcmp(what, "wipe-account") == 0) {
        d->wipe = 1;
        d->wipe_account_only = what[4] != '\0';
    } else if (strcmp(what, "block") == 0) {
        d->blocked = true;
    } else if (strcmp(what, "allow") == 0) {
        d->blocked = false;
        d->wipe = 0;
    } else if (strcmp(what, "new-policy") == 0) {
        d->policy_key = 0;
    } else if (strcmp(what, "forget") == 0) {
        box_forget_device(c->o.boxes, box, d);
    } else {
        answer_text(r, 400, "what to do is wipe, wipe-account, block, allow, new-policy or forget\n");
        return;
    }
    json_t *list = json_array();
    describe_device(box, d, list);
    answer_json(r, list);
}

static void status(struct control *c, struct httpd_request *r)
{
    struct server_counts n = server_counts(c->o.server);
    answer_json(r, json_pack("{s:I,s:I,s:I,s:I,s:I}", "mailboxes", (json_int_t)boxes_count(c->o.boxes),
                             "connections", (json_int_t)n.connections, "open", (json_int_t)n.open, "waiting",
                             (json_int_t)n.waiting, "requests", (json_int_t)n.requests));
}

static void handle(void *owner, struct httpd_request *r)
{
    struct control *c = owner;
    const char *path = httpd_path(r), *method = httpd_method(r);
    bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
    if (strcmp(path, "/deliver") == 0 && post) {
        deliver(c, r);
    } else if (strcmp(path, "/faults") == 0 && get) {
        list_faults(c, r);
    } else if (strcmp(path, "/faults") == 0 && post) {
        add_fault(c, r);
    } else if (strcmp(path, "/faults") == 0 && strcmp(method, "DELETE") == 0) {
        faults_clear(c->o.faults);
        list_faults(c, r);
    } else if (strcmp(path, "/devices") == 0 && get) {
        json_t *list = json_array();
        boxes_each(c->o.boxes, list_box, list);
        answer_json(r, list);
    } else if (strcmp(path, "/devices") == 0 && post) {
        change_device(c, r);
    } else if (strcmp(path, "/status") == 0 && get) {
        status(c, r);
    } else {
        answer_text(r, 404, "there are /deliver, /faults, /devices and /status\n");
    }
}

struct control *control_new(int fd, const struct control_options *options)
{
    struct control *c = mem_zalloc(sizeof *c);
    c->o = *options;
    const struct httpd_options o = {.body_max = BODY_MAX,
                                    .connections_max = 100,
                                    .idle_ms = 60000,
                                    .request_ms = 60000,
                                    .deadline_list = options->deadline_list,
                                    .server = "mailsim/" STAGATE_VERSION,
                                    .handle = handle,
                                    .owner = c};
    c->httpd = httpd_new(options->loop, fd, &o);
    return c;
}

static void on_closed(void *owner)
{
    free(owner);
}

void control_close(struct control *c)
{
    httpd_close(c->httpd, on_closed, c);
}
