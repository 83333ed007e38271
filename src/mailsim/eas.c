/* The commands of ActiveSync that this mail server answers. */
#include "eas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

static const struct {
    const char *name;
    uint16_t root;
    uint16_t status; /* where its document says what went wrong */
} commands[] = {
    [EAS_FOLDERSYNC] = {"FolderSync", WBXML_FOLDERHIERARCHY_FOLDERSYNC, WBXML_FOLDERHIERARCHY_STATUS},
    [EAS_SYNC] = {"Sync", WBXML_AIRSYNC_SYNC, WBXML_AIRSYNC_STATUS},
    [EAS_PING] = {"Ping", WBXML_PING_PING, WBXML_PING_STATUS},
};

enum eas_command eas_command(const char *name)
{
    int i = 0;
    while (i < EAS_UNKNOWN && strcmp(commands[i].name, name) != 0)
        i++;
    return (enum eas_command)i;
}

bool eas_knows_version(const char *version)
{
    return strcmp(version, "12.1") == 0 || strcmp(version, "14.0") == 0 || strcmp(version, "14.1") == 0;
}

/* A document of the command's root with nothing but a status. */
static int answer_status(enum eas_command c, int status, struct buf *out)
{
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, commands[c].root);
    wbxml_number(&w, commands[c].status, status);
    wbxml_close(&w);
    return wbxml_finish(&w) == 0 ? 200 : 500;
}

int eas_version_refused(enum eas_command c, const char *version, struct buf *out)
{
    return atoi(version) >= 14 && c < EAS_UNKNOWN ? answer_status(c, 138, out) : 400;
}

/* ---- FolderSync ---- */

static void write_folder(struct wbxml_writer *w, const char *id, const char *name, int type)
{
    wbxml_open(w, WBXML_FOLDERHIERARCHY_ADD);
    wbxml_element(w, WBXML_FOLDERHIERARCHY_SERVERID, id);
    wbxml_element(w, WBXML_FOLDERHIERARCHY_PARENTID, "0");
    wbxml_element(w, WBXML_FOLDERHIERARCHY_DISPLAYNAME, name);
    wbxml_number(w, WBXML_FOLDERHIERARCHY_TYPE, type);
    wbxml_close(w);
}

int eas_foldersync(const struct wbxml_node *request, struct buf *out)
{
    if (request == NULL || request->tag != WBXML_FOLDERHIERARCHY_FOLDERSYNC)
        return 400;
    const char *key = wbxml_string(wbxml_find(request, WBXML_FOLDERHIERARCHY_SYNCKEY));
    if (key == NULL || (strcmp(key, "0") != 0 && strcmp(key, "1") != 0))
        return answer_status(EAS_FOLDERSYNC, 9, out); /* invalid key: the client starts again with 0 */
    bool first = key[0] == '0';
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_FOLDERHIERARCHY_FOLDERSYNC);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_STATUS, 1);
    wbxml_element(&w, WBXML_FOLDERHIERARCHY_SYNCKEY, "1");
    wbxml_open(&w, WBXML_FOLDERHIERARCHY_CHANGES);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_COUNT, first ? 1 : 0);
    if (first)
        write_folder(&w, EAS_INBOX_ID, "Inbox", 2);
    wbxml_close(&w);
    wbxml_close(&w);
    return wbxml_finish(&w) == 0 ? 200 : 500;
}

/* ---- Sync ---- */

static void write_mail(struct wbxml_writer *w, const struct mail *m, const char *user)
{
    char id[32], when[CLOCK_TEXT], to[300];
    snprintf(id, sizeof id, EAS_INBOX_ID ":%u", m->id);
    clock_format(when, m->received_ms);
    snprintf(to, sizeof to, strchr(user, '@') ? "%.250s" : "%.250s@example.com", user);
    wbxml_open(w, WBXML_AIRSYNC_ADD);
    wbxml_element(w, WBXML_AIRSYNC_SERVERID, id);
    wbxml_open(w, WBXML_AIRSYNC_APPLICATIONDATA);
    wbxml_element(w, WBXML_EMAIL_TO, to);
    wbxml_element(w, WBXML_EMAIL_FROM, m->from);
    wbxml_element(w, WBXML_EMAIL_SUBJECT, m->subject);
    wbxml_element(w, WBXML_EMAIL_DATERECEIVED, when);
    wbxml_element(w, WBXML_EMAIL_IMPORTANCE, "1");
    wbxml_element(w, WBXML_EMAIL_READ, "0");
    wbxml_open(w, WBXML_AIRSYNCBASE_BODY);
    wbxml_element(w, WBXML_AIRSYNCBASE_TYPE, "1");
    wbxml_number(w, WBXML_AIRSYNCBASE_ESTIMATEDDATASIZE, (int64_t)strlen(m->body));
    wbxml_element(w, WBXML_AIRSYNCBASE_DATA, m->body);
    wbxml_close(w);
    wbxml_element(w, WBXML_EMAIL_MESSAGECLASS, "IPM.Note");
    wbxml_element(w, WBXML_AIRSYNCBASE_NATIVEBODYTYPE, "1");
    wbxml_close(w);
    wbxml_close(w);
}

static uint32_t number_of(const struct wbxml_node *n, uint32_t otherwise)
{
    const char *text = wbxml_string(n);
    if (text == NULL || *text == '\0' || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text))
        return otherwise;
    return (uint32_t)strtoul(text, NULL, 10);
}

/* Settles key and position: the current key advances, the one before it repeats its answer (the client lost
 * it). */
static bool take_sync_key(struct device *d, const char *key, uint32_t *from)
{
    char current[16], previous[16];
    snprintf(current, sizeof current, "%u", d->sync_key);
    snprintf(previous, sizeof previous, "%u", d->sync_key - 1);
    if (strcmp(key, "0") == 0) {
        d->sync_key = 0;
        d->seen = d->seen_before = 0;
        *from = 0;
    } else if (d->sync_key > 0 && strcmp(key, current) == 0) {
        d->seen_before = d->seen;
        *from = d->seen;
    } else if (d->sync_key > 1 && strcmp(key, previous) == 0) {
        d->sync_key--;
        *from = d->seen_before;
    } else {
        return false;
    }
    return true;
}

static void write_collection(struct wbxml_writer *w, struct box *box, struct device *d,
                             const struct wbxml_node *collection)
{
    const char *key = wbxml_string(wbxml_find(collection, WBXML_AIRSYNC_SYNCKEY));
    const char *id = wbxml_string(wbxml_find(collection, WBXML_AIRSYNC_COLLECTIONID));
    uint32_t window = number_of(wbxml_find(collection, WBXML_AIRSYNC_WINDOWSIZE), 100);
    uint32_t from = 0;
    int status = 1;

    if (id == NULL || strcmp(id, EAS_INBOX_ID) != 0)
        status = 8; /* object not found: FolderSync again */
    else if (wbxml_find(collection, WBXML_AIRSYNC_COMMANDS) != NULL)
        status = 6; /* changes of the client are not taken by this version */
    else if (key == NULL || !take_sync_key(d, key, &from))
        status = 3; /* invalid key: start again with 0 */
    wbxml_open(w, WBXML_AIRSYNC_COLLECTION);
    if (status != 1) {
        wbxml_element(w, WBXML_AIRSYNC_SYNCKEY, "0");
        wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, id ? id : "");
        wbxml_number(w, WBXML_AIRSYNC_STATUS, status);
        wbxml_close(w);
        return;
    }
    if (window == 0 || window > 512)
        window = 512;
    /* the first Sync only hands out a key (MS-ASCMD 2.2.3.181.4) */
    uint32_t last = box_last(box);
    uint32_t to = d->sync_key == 0 ? 0 : last - from > window ? from + window : last;
    d->seen = to;
    d->sync_key++;
    wbxml_number(w, WBXML_AIRSYNC_SYNCKEY, d->sync_key);
    wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, EAS_INBOX_ID);
    wbxml_number(w, WBXML_AIRSYNC_STATUS, 1);
    if (d->sync_key > 1 && to < last)
        wbxml_empty(w, WBXML_AIRSYNC_MOREAVAILABLE);
    if (to > from) {
        wbxml_open(w, WBXML_AIRSYNC_COMMANDS);
        for (uint32_t i = from; i < to; i++)
            write_mail(w, &box->mails[i], box->user);
        wbxml_close(w);
    }
    wbxml_close(w);
}

int eas_sync(struct box *box, struct device *d, const struct wbxml_node *request, struct buf *out)
{
    const struct wbxml_node *collections = wbxml_find(request, WBXML_AIRSYNC_COLLECTIONS);
    const struct wbxml_node *c = wbxml_find(collections, WBXML_AIRSYNC_COLLECTION);
    if (request != NULL && request->tag != WBXML_AIRSYNC_SYNC)
        return 400;
    if (c == NULL)
        return answer_status(EAS_SYNC, 13, out); /* incomplete: nothing is cached here, send it all */
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_AIRSYNC_SYNC);
    wbxml_open(&w, WBXML_AIRSYNC_COLLECTIONS);
    for (; c != NULL; c = wbxml_find_next(collections, c, WBXML_AIRSYNC_COLLECTION))
        write_collection(&w, box, d, c);
    wbxml_close(&w);
    wbxml_close(&w);
    return wbxml_finish(&w) == 0 ? 200 : 500;
}

/* ---- Ping ---- */

void eas_ping_answer(int status, struct buf *out)
{
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_PING_PING);
    wbxml_number(&w, WBXML_PING_STATUS, status);
    if (status == 2) {
        wbxml_open(&w, WBXML_PING_FOLDERS);
        wbxml_element(&w, WBXML_PING_FOLDER, EAS_INBOX_ID);
        wbxml_close(&w);
    }
    wbxml_close(&w);
    wbxml_finish(&w);
}

static void ping_limit(uint32_t allowed, struct buf *out)
{
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_PING_PING);
    wbxml_number(&w, WBXML_PING_STATUS, 5);
    wbxml_number(&w, WBXML_PING_HEARTBEATINTERVAL, allowed);
    wbxml_close(&w);
    wbxml_finish(&w);
}

enum eas_ping_result eas_ping(struct box *box, struct device *d, const struct wbxml_node *request,
                              struct buf *out, uint32_t *seconds)
{
    uint32_t heartbeat = d->heartbeat_s; /* an empty body means the same again */
    if (request != NULL) {
        const struct wbxml_node *folders = wbxml_find(request, WBXML_PING_FOLDERS);
        heartbeat = number_of(wbxml_find(request, WBXML_PING_HEARTBEATINTERVAL), d->heartbeat_s);
        if (request->tag != WBXML_PING_PING || (folders == NULL && d->heartbeat_s == 0))
            heartbeat = 0;
    }
    if (heartbeat == 0) {
        answer_status(EAS_PING, 3, out); /* parameters are missing: send it in full */
        return EAS_PING_ANSWERED;
    }
    if (heartbeat < EAS_HEARTBEAT_MIN_S || heartbeat > EAS_HEARTBEAT_MAX_S) {
        ping_limit(heartbeat < EAS_HEARTBEAT_MIN_S ? EAS_HEARTBEAT_MIN_S : EAS_HEARTBEAT_MAX_S, out);
        return EAS_PING_ANSWERED;
    }
    d->heartbeat_s = heartbeat;
    if (d->sync_key > 0 && d->seen < box_last(box)) {
        eas_ping_answer(2, out);
        return EAS_PING_ANSWERED;
    }
    *seconds = heartbeat;
    return EAS_PING_WAIT;
}
