/* Mailboxes: generated items and changed ones, the order of changes, folders, devices, who waits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "box.h"

#define NEWEST_MS 1769860800000LL /* 2026-01-31T12:00:00Z */

static struct boxes *boxes;
static struct box *box;
static unsigned scheduled;

static void on_woken(void *owner)
{
    (void)owner;
    scheduled++;
}

static void setup(void)
{
    scheduled = 0;
    boxes = boxes_new(
        &(struct boxes_options){.mails = 10, .seed = 1, .newest_ms = NEWEST_MS, .on_woken = on_woken});
    box = boxes_open(boxes, "Alice");
}

static void teardown(void)
{
    boxes_free(boxes);
}

/* What has changed behind a number, as text: "3 +11 -2" */
static const char *changes(struct folder *f, uint64_t after)
{
    static char text[512];
    struct folder_walk w;
    struct look look;
    size_t n = 0;
    text[0] = '\0';
    folder_walk_init(&w, f, after);
    while (folder_walk_next(&w, box->seed, &look))
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%u", n > 0 ? " " : "",
                              look.gone           ? "-"
                              : look.created > 10 ? "+"
                                                  : "",
                              look.id);
    return text;
}

START_TEST(boxes_of_users)
{
    ck_assert_ptr_eq(boxes_open(boxes, "aLICE"), box);
    ck_assert_str_eq(box->user, "alice");
    ck_assert_ptr_null(boxes_find(boxes, "bob"));
    for (int i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "u%d", i);
        ck_assert_ptr_nonnull(boxes_open(boxes, name));
        ck_assert_ptr_eq(boxes_open(boxes, name), boxes_find(boxes, name));
    }
    ck_assert_uint_eq(boxes_count(boxes), 3001);
    ck_assert_ptr_eq(boxes_find(boxes, "alice"), box);
}
END_TEST

START_TEST(changes_in_their_order)
{
    struct folder *f = box_folder(boxes, box, FOLDER_INBOX);
    struct device *d = box_device(box, "d", "t");
    ck_assert_str_eq(changes(f, 0), "1 2 3 4 5 6 7 8 9 10");
    ck_assert_str_eq(changes(f, 7), "8 9 10");
    ck_assert_str_eq(changes(f, 10), "");
    folder_own(boxes, box, f, 4); /* kept, but not changed */
    ck_assert_str_eq(changes(f, 0), "1 2 3 4 5 6 7 8 9 10");
    struct item *three = folder_own(boxes, box, f, 3);
    folder_touch(boxes, box, f, three, d);
    ck_assert_str_eq(changes(f, 0), "1 2 4 5 6 7 8 9 10 3");
    ck_assert_uint_eq(three->before, 3);
    ck_assert_uint_eq(three->modseq, 11);
    struct mail m;
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct look look;
    ck_assert(folder_look(f, box->seed, 1, &look));
    folder_mail(boxes, box, &look, s, &m);
    struct letter *l = letter_from_mail(&m);
    struct item *new = folder_add_mail(boxes, box, f, l, NULL);
    letter_unref(l);
    free(s);
    ck_assert_uint_eq(new->id, 11);
    folder_delete(boxes, box, f, 2, NULL);
    ck_assert_str_eq(changes(f, 10), "3 +11 -2");
    folder_touch(boxes, box, f, three, d);
    ck_assert_str_eq(changes(f, 10), "+11 -2 3");
    ck_assert_str_eq(changes(f, 13), "3");
    ck_assert_str_eq(changes(f, 99), "");
    ck_assert_uint_eq(folder_items(f), 10);
    folder_delete(boxes, box, f, 2, NULL); /* it is gone already */
    folder_delete(boxes, box, f, 999, NULL);
    ck_assert_uint_eq(folder_items(f), 10);
    ck_assert(!folder_look(f, box->seed, 0, &look) && !folder_look(f, box->seed, 12, &look));
}
END_TEST

START_TEST(moved_mail)
{
    struct folder *f = box_folder(boxes, box, FOLDER_INBOX), *bin = box_folder(boxes, box, FOLDER_DELETED);
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct mail before, after;
    struct look look;
    folder_look(f, box->seed, 5, &look);
    folder_mail(boxes, box, &look, s, &before);
    char *subject = mem_strdup(before.subject);
    int64_t received = folder_received_ms(boxes, box, f, &look);
    struct item *it = folder_move(boxes, box, f, 5, bin, NULL, NULL);
    ck_assert_uint_eq(it->id, 1);
    ck_assert_ptr_null(folder_move(boxes, box, f, 5, bin, NULL, NULL));
    folder_look(bin, box->seed, 1, &look);
    folder_mail(boxes, box, &look, s, &after);
    ck_assert_str_eq(after.subject, subject);
    ck_assert_int_eq(folder_received_ms(boxes, box, bin, &look), received);
    ck_assert_uint_eq(folder_items(f), 9);
    ck_assert_uint_eq(folder_items(bin), 1);
    free(subject);
    free(s);
}
END_TEST

START_TEST(generated_content)
{
    const struct gen *g = boxes_gen(boxes);
    struct gen_scratch *s = mem_alloc(sizeof *s);
    char subject[256];
    struct mail m;
    int64_t last = NEWEST_MS + 1;
    for (uint32_t n = 1; n <= 2000; n++) {
        ck_assert_int_lt(gen_received_ms(g, box->seed, n), last);
        last = gen_received_ms(g, box->seed, n);
        gen_mail(g, box->seed, "alice", n, s, &m);
        ck_assert_int_eq(m.received_ms, last);
        ck_assert(m.subject[0] != '\0' && (m.text != NULL || m.html != NULL));
        ck_assert_uint_lt(strlen(s->text), sizeof s->text - 1);
        ck_assert_uint_lt(strlen(s->html), sizeof s->html - 1);
        mem_copy_text(subject, sizeof subject, m.subject);
        gen_mail(g, box->seed, "alice", n, s, &m);
        ck_assert_str_eq(m.subject, subject);
    }
    ck_assert(gen_box_seed(g, "alice") == gen_box_seed(g, "ALICE") &&
              gen_box_seed(g, "alice") != gen_box_seed(g, "bob"));
    free(s);
}
END_TEST

START_TEST(folders)
{
    struct folder untouched;
    ck_assert_ptr_eq(box_folder_peek(box, FOLDER_CALENDAR, &untouched), &untouched);
    ck_assert_str_eq(untouched.name, "Calendar");
    ck_assert_uint_eq(box->folder_count, 0); /* nothing was made */
    struct folder *a = box_add_folder(boxes, box, 0, TYPE_USER_MAIL, "A");
    struct folder *b = box_add_folder(boxes, box, a->id, TYPE_USER_CONTACTS, "B");
    ck_assert_uint_eq(a->id, FOLDER_DEFAULTS + 1);
    ck_assert_int_eq(b->item_class, CLASS_CONTACTS);
    box_change_folder(boxes, box, b, 0, "C");
    ck_assert_uint_eq(b->changed, box->hierarchy);
    box_change_folder(boxes, box, b, a->id, "C");
    box_remove_folder(boxes, box, a);
    ck_assert(a->gone && b->gone);
    ck_assert_ptr_null(box_folder(boxes, box, a->id));
    ck_assert_ptr_eq(box_folder_any(boxes, box, a->id), a);
    ck_assert_ptr_null(box_folder_any(boxes, box, 0));
    ck_assert_ptr_null(box_folder_any(boxes, box, 99));
    while (box_add_folder(boxes, box, 0, TYPE_USER_MAIL, "x") != NULL)
        ;
    ck_assert_uint_eq(box_last_folder(box), BOX_FOLDERS);
}
END_TEST

START_TEST(devices)
{
    ck_assert_ptr_null(box_device(box, "", "t"));
    struct device *d = box_device(box, "Phone", "t");
    ck_assert_ptr_eq(box_device(box, "pHONE", "other"), d);
    struct collection *c = device_add_collection(d, 3);
    ck_assert_ptr_eq(device_collection(d, 3), c);
    ck_assert_ptr_null(device_collection(d, 4));
    c->key = 7;
    collection_reset(c);
    ck_assert(c->key == 0 && c->folder == 3 && c->window > 0);
    d->policy_key = 5;
    box_forget_device(boxes, box, d);
    ck_assert(d->policy_key == 0 && device_collection(d, 3) == NULL);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        box_device(box, id, "t");
    }
    ck_assert_uint_eq(box->device_count, BOX_DEVICES);
}
END_TEST

static char log_[64];

static void on_wake(struct waiter *w, enum wake why)
{
    strcat(log_, why == WAKE_CHANGE ? "c" : "r");
    if (w->device == NULL && strlen(log_) == 2) { /* waits again */
        w->device = box->devices[0];
        box_wait(boxes, box, w);
    }
}

START_TEST(who_waits_is_woken_later)
{
    struct device *d = box_device(box, "d", "t"), *e = box_device(box, "e", "t");
    struct waiter a = {.device = d, .wake = on_wake}, b = {.device = d, .wake = on_wake},
                  c = {.device = e, .wake = on_wake};
    list_init(&a.link);
    list_init(&b.link);
    list_init(&c.link);
    log_[0] = '\0';
    box_wait(boxes, box, &a);
    box_wait(boxes, box, &b); /* of the same device */
    box_wait(boxes, box, &c);
    ck_assert_str_eq(log_, ""); /* not from within */
    ck_assert_uint_eq(scheduled, 1);
    boxes_run_woken(boxes);
    ck_assert_str_eq(log_, "r");
    box_deliver(boxes, box, NULL);
    box_deliver(boxes, box, NULL);
    ck_assert_uint_eq(scheduled, 2);
    box_stop_waiting(&c); /* between being woken and hearing of it */
    boxes_run_woken(boxes);
    ck_assert_str_eq(log_, "rc");
    ck_assert(d->waiter != NULL && e->waiter == NULL); /* it waits again */
    boxes_run_woken(boxes);
    ck_assert_str_eq(log_, "rc");
    box_stop_waiting(d->waiter);
    box_stop_waiting(&a);
    ck_assert_ptr_null(d->waiter);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mailsim_box");
    TCase *t = tcase_create("box");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, boxes_of_users);
    tcase_add_test(t, changes_in_their_order);
    tcase_add_test(t, moved_mail);
    tcase_add_test(t, generated_content);
    tcase_add_test(t, folders);
    tcase_add_test(t, devices);
    tcase_add_test(t, who_waits_is_woken_later);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
