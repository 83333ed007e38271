/* A phone's side of ActiveSync. What a step is made of stands in its two functions, one that asks and one
 * that reads; a server that wants provisioning or a new folder list first gets that in between (detour). */
#include "device.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/visible.h"
#include "proto/eas.h"

#define MENDED_MAX 4 /* in one step: what still does not go then is a failure */

const char *const step_names[] = {"options", "provision", "folder-sync", "sync",
                                  "ping",    "send-mail", "attachment",  NULL};
const char *const verb_names[] = {"OPTIONS", "Provision", "FolderSync", "Sync", "Ping", "SendMail", "Fetch"};
const char *const folder_names[] = {"inbox", "calendar", "contacts", "tasks", NULL};

enum { STAGE_FIRST, STAGE_SECOND };
enum detour { DETOUR_NONE, DETOUR_POLICY, DETOUR_POLICY_KEPT, DETOUR_FOLDERS };

void failure_set(struct failure *f, const char *kind, const char *fmt, ...)
{
    char text[FAILURE_DETAIL];
    struct buf fit;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_init(&fit, 8 * sizeof text);
    visible_append(&fit, text, strlen(text), false);
    buf_append(&fit, "", 1);
    mem_copy_text(f->detail, sizeof f->detail, (const char *)fit.data);
    buf_deinit(&fit);
    mem_copy_text(f->kind, sizeof f->kind, kind);
    for (char *p = f->kind; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("_:.-", *p) == NULL)
            *p = '?';
}

void device_init(struct device *d, const struct device_options *options, const char *user, const char *id)
{
    *d = (struct device){.options = options, .user = user};
    mem_copy_text(d->id, sizeof d->id, id);
    device_reset(d);
}

void device_deinit(struct device *d)
{
    free(d->folders);
    free(d->attachment);
    d->folders = NULL;
    d->attachment = NULL;
    d->folder_count = 0;
}

void device_reset(struct device *d)
{
    device_deinit(d);
    d->policy_key[0] = '\0';
    strcpy(d->hierarchy, "0");
    d->version = d->options->version;
    d->heartbeat_s = d->options->heartbeat_s;
    d->ping_known = false;
}

unsigned device_version(const struct device *d)
{
    return d->version != 0 ? d->version : d->options->ceiling;
}

/* ---- steps ---- */

static bool mark_folders(struct device *d, bool only_changed)
{
    bool any = false;
    for (size_t i = 0; i < d->folder_count; i++) {
        struct folder *f = &d->folders[i];
        f->due = !only_changed || f->changed;
        f->changed = false;
        any |= f->due;
    }
    return any;
}

static bool is_any_due(const struct device *d)
{
    for (size_t i = 0; i < d->folder_count; i++)
        if (d->folders[i].due)
            return true;
    return false;
}

enum device_verdict device_begin(struct device *d, enum step step, struct failure *why)
{
    d->stage = STAGE_FIRST;
    d->detour = DETOUR_NONE;
    d->items = 0;
    d->newest_ms = 0;
    d->mended = 0;
    if (step == STEP_ATTACHMENT && d->attachment == NULL)
        return DEVICE_DONE;
    if ((step == STEP_SYNC || step == STEP_PING) && d->folder_count == 0) {
        failure_set(why, "no_folders", "the phone knows no folder: folder-sync has to come first");
        return DEVICE_FAILED;
    }
    if (step == STEP_SYNC)
        mark_folders(d, false);
    return DEVICE_AGAIN;
}

/* What the next request is for, whatever the step. */
static enum verb verb_now(const struct device *d, enum step step)
{
    static const enum verb verbs[STEPS] = {VERB_OPTIONS, VERB_PROVISION, VERB_FOLDER_SYNC, VERB_SYNC,
                                           VERB_PING,    VERB_SEND_MAIL, VERB_FETCH};
    if (d->detour == DETOUR_POLICY || d->detour == DETOUR_POLICY_KEPT)
        return VERB_PROVISION;
    if (d->detour == DETOUR_FOLDERS)
        return VERB_FOLDER_SYNC;
    if (step == STEP_PING && d->stage != STAGE_FIRST)
        return VERB_SYNC;
    return verbs[step];
}

/* ---- asking ---- */

static void ask_provision(struct device *d, struct wbxml_writer *w)
{
    bool keep = d->detour == DETOUR_POLICY_KEPT || (d->detour == DETOUR_NONE && d->stage != STAGE_FIRST);
    wbxml_open(w, WBXML_PROVISION_PROVISION);
    if (!keep && device_version(d) >= 141) { /* MS-ASPROV 2.2.2.44: wanted from 14.1 on */
        wbxml_open(w, WBXML_SETTINGS_DEVICEINFORMATION);
        wbxml_open(w, WBXML_SETTINGS_SET);
        wbxml_element(w, WBXML_SETTINGS_MODEL, d->options->type);
        wbxml_element(w, WBXML_SETTINGS_OS, d->options->system);
        wbxml_element(w, WBXML_SETTINGS_USERAGENT, d->options->agent);
        wbxml_close(w);
        wbxml_close(w);
    }
    wbxml_open(w, WBXML_PROVISION_POLICIES);
    wbxml_open(w, WBXML_PROVISION_POLICY);
    wbxml_element(w, WBXML_PROVISION_POLICYTYPE,
                  device_version(d) < 120 ? "MS-WAP-Provisioning-XML" : "MS-EAS-Provisioning-WBXML");
    if (keep) {
        wbxml_element(w, WBXML_PROVISION_POLICYKEY, d->policy_key);
        wbxml_element(w, WBXML_PROVISION_STATUS, "1");
    }
    wbxml_close(w);
    wbxml_close(w);
    wbxml_close(w);
}

static void ask_folders(const struct device *d, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_FOLDERHIERARCHY_FOLDERSYNC);
    wbxml_element(w, WBXML_FOLDERHIERARCHY_SYNCKEY, d->hierarchy);
    wbxml_close(w);
}

static const char *class_of(const struct folder *f)
{
    static const char *const classes[] = {"Email", "Calendar", "Contacts", "Tasks"};
    return classes[f->kind];
}

static void ask_body(const struct device *d, const struct folder *f, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_AIRSYNC_OPTIONS);
    if (f->kind == FOLDER_INBOX || f->kind == FOLDER_CALENDAR)
        wbxml_element(w, WBXML_AIRSYNC_FILTERTYPE, "0");
    if (device_version(d) < 120) {
        wbxml_element(w, WBXML_AIRSYNC_TRUNCATION, "7");
    } else {
        wbxml_open(w, WBXML_AIRSYNCBASE_BODYPREFERENCE);
        wbxml_element(w, WBXML_AIRSYNCBASE_TYPE, "1");
        wbxml_number(w, WBXML_AIRSYNCBASE_TRUNCATIONSIZE, d->options->truncation);
        wbxml_close(w);
    }
    wbxml_close(w);
}

static void ask_sync(const struct device *d, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_AIRSYNC_SYNC);
    wbxml_open(w, WBXML_AIRSYNC_COLLECTIONS);
    for (size_t i = 0; i < d->folder_count; i++) {
        const struct folder *f = &d->folders[i];
        if (!f->due)
            continue;
        wbxml_open(w, WBXML_AIRSYNC_COLLECTION);
        if (device_version(d) <= 121)
            wbxml_element(w, WBXML_AIRSYNC_CLASS, class_of(f));
        wbxml_element(w, WBXML_AIRSYNC_SYNCKEY, f->key);
        wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, f->id);
        if (strcmp(f->key, "0") != 0) {
            wbxml_empty(w, WBXML_AIRSYNC_DELETESASMOVES);
            wbxml_empty(w, WBXML_AIRSYNC_GETCHANGES);
            wbxml_number(w, WBXML_AIRSYNC_WINDOWSIZE, d->options->window);
            ask_body(d, f, w);
        }
        wbxml_close(w);
    }
    wbxml_close(w);
    wbxml_close(w);
}

static void ask_ping(const struct device *d, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_PING_PING);
    wbxml_number(w, WBXML_PING_HEARTBEATINTERVAL, d->heartbeat_s);
    wbxml_open(w, WBXML_PING_FOLDERS);
    for (size_t i = 0; i < d->folder_count; i++) {
        wbxml_open(w, WBXML_PING_FOLDER);
        wbxml_element(w, WBXML_PING_ID, d->folders[i].id);
        wbxml_element(w, WBXML_PING_CLASS, class_of(&d->folders[i]));
        wbxml_close(w);
    }
    wbxml_close(w);
    wbxml_close(w);
}

static int write_mail(const struct device *d, struct buf *out)
{
    static const char line[] = "Written by easload to see how mail passes. 0123456789 abcdefghij.\r\n";
    const char *to = d->options->recipient != NULL ? d->options->recipient : d->user;
    char date[64];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    int rc = buf_printf(out,
                        "Date: %s\r\nFrom: %s%s%s\r\nTo: %s%s%s\r\nSubject: easload %u\r\n"
                        "Message-ID: <%s.%u.%lld@easload.invalid>\r\nMIME-Version: 1.0\r\n"
                        "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
                        date, d->user, strchr(d->user, '@') ? "" : "@",
                        strchr(d->user, '@') ? "" : d->options->domain, to, strchr(to, '@') ? "" : "@",
                        strchr(to, '@') ? "" : d->options->domain, (unsigned)d->sent, d->id,
                        (unsigned)d->sent, (long long)now);
    for (unsigned n = 0; rc == 0 && n < d->options->mail_bytes; n += sizeof line - 1)
        rc = buf_append(out, line, sizeof line - 1);
    return rc;
}

static int ask_send(struct device *d, struct device_request *out, struct buf *body)
{
    struct buf mail;
    struct wbxml_writer w;
    char id[64];
    d->sent++;
    if (device_version(d) <= 121) {
        out->type = "message/rfc822";
        out->extra = "&SaveInSent=T";
        return write_mail(d, body);
    }
    buf_init(&mail, body->max);
    int rc = write_mail(d, &mail);
    snprintf(id, sizeof id, "%s-%u", d->id, (unsigned)d->sent);
    wbxml_begin(&w, body);
    wbxml_open(&w, WBXML_COMPOSEMAIL_SENDMAIL);
    wbxml_element(&w, WBXML_COMPOSEMAIL_CLIENTID, id);
    wbxml_empty(&w, WBXML_COMPOSEMAIL_SAVEINSENTITEMS);
    wbxml_open(&w, WBXML_COMPOSEMAIL_MIME);
    wbxml_opaque(&w, mail.data, mail.len);
    wbxml_close(&w);
    wbxml_close(&w);
    buf_deinit(&mail);
    int done = wbxml_finish(&w);
    return rc != 0 ? rc : done;
}

static void ask_fetch(const struct device *d, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_ITEMOPERATIONS_ITEMOPERATIONS);
    wbxml_open(w, WBXML_ITEMOPERATIONS_FETCH);
    wbxml_element(w, WBXML_ITEMOPERATIONS_STORE, "Mailbox");
    wbxml_element(w, WBXML_AIRSYNCBASE_FILEREFERENCE, d->attachment);
    wbxml_close(w);
    wbxml_close(w);
}

/* "&AttachmentName=..." with everything escaped that could be misread. */
static const char *attachment_query(const char *reference)
{
    static _Thread_local char text[32 + 3 * 256];
    char *p = text + sprintf(text, "&AttachmentName=");
    for (size_t i = 0; i < 256 && reference[i] != '\0'; i++)
        p += sprintf(p, "%%%02X", (unsigned char)reference[i]);
    return text;
}

int device_ask(struct device *d, enum step step, struct device_request *out, struct buf *body)
{
    static const char *const commands[VERBS] = {NULL,   "Provision", "FolderSync",    "Sync",
                                                "Ping", "SendMail",  "ItemOperations"};
    struct wbxml_writer w;
    *out = (struct device_request){.verb = verb_now(d, step), .extra = "", .policy = true};
    out->command = commands[out->verb];
    out->repeatable = out->verb != VERB_SEND_MAIL; /* a Sync with the same key gives the same again */
    if (out->verb == VERB_OPTIONS) {
        out->policy = false;
        return 0;
    }
    if (out->verb == VERB_SEND_MAIL && device_version(d) <= 121)
        return ask_send(d, out, body);
    if (out->verb == VERB_FETCH && device_version(d) < 120) {
        out->command = "GetAttachment";
        out->extra = attachment_query(d->attachment);
        return 0;
    }
    out->type = "application/vnd.ms-sync.wbxml";
    if (out->verb == VERB_SEND_MAIL)
        return ask_send(d, out, body);
    if (out->verb == VERB_PING) {
        out->heartbeat_s = d->heartbeat_s;
        out->policy = false; /* MS-ASPROV 3.1.5.1 */
        if (d->ping_known) {
            out->type = NULL;
            return 0;
        }
    }
    wbxml_begin(&w, body);
    if (out->verb == VERB_PROVISION)
        ask_provision(d, &w);
    else if (out->verb == VERB_FOLDER_SYNC)
        ask_folders(d, &w);
    else if (out->verb == VERB_SYNC)
        ask_sync(d, &w);
    else if (out->verb == VERB_PING)
        ask_ping(d, &w);
    else
        ask_fetch(d, &w);
    return wbxml_finish(&w);
}

/* ---- reading ---- */

static enum device_verdict fail(struct failure *why, const char *kind, const char *detail)
{
    failure_set(why, kind, "%s", detail);
    return DEVICE_FAILED;
}

/* Asks otherwise, unless that was done often enough in this step. why is set by the caller. */
static enum device_verdict mend(struct device *d)
{
    return ++d->mended > MENDED_MAX ? DEVICE_FAILED : DEVICE_AGAIN;
}

static enum device_verdict provision_first(struct device *d, struct failure *why, const char *kind)
{
    failure_set(why, kind, "the server wants the device provisioned");
    if (d->detour != DETOUR_NONE)
        return DEVICE_FAILED;
    d->detour = DETOUR_POLICY;
    d->policy_key[0] = '\0';
    return mend(d);
}

/* A Status that is not success. */
static enum device_verdict refused(struct device *d, enum verb verb, unsigned status, struct failure *why)
{
    char kind[FAILURE_KIND];
    static const char *const prefixes[VERBS] = {"options", "provision", "folder_sync", "sync",
                                                "ping",    "send_mail", "fetch"};
    if (status >= 100)
        snprintf(kind, sizeof kind, "status_%u", status);
    else
        snprintf(kind, sizeof kind, "%s_status_%u", prefixes[verb], status);
    if (status >= 142 && status <= 144 && verb != VERB_PROVISION)
        return provision_first(d, why, kind);
    return fail(why, kind, "the server's Status says so");
}

static unsigned number_of(const struct wbxml_node *n)
{
    const char *s = wbxml_string(n);
    return s != NULL && *s >= '0' && *s <= '9' ? (unsigned)strtoul(s, NULL, 10) : 0;
}

static bool take_key(char dst[SYNC_KEY_MAX], const struct wbxml_node *n)
{
    const char *s = wbxml_string(n);
    if (s == NULL || *s == '\0' || strlen(s) >= SYNC_KEY_MAX)
        return false;
    strcpy(dst, s);
    return true;
}

static enum device_verdict read_options(struct device *d, const struct device_answer *a, struct failure *why)
{
    unsigned best = 0;
    for (const char *p = a->versions; p != NULL && *p != '\0';) {
        while (*p == ' ' || *p == ',')
            p++;
        size_t n = strcspn(p, ", ");
        unsigned v = eas_version_parse(p, n);
        if (v > best && v <= d->options->ceiling)
            best = v;
        p += n;
    }
    if (best == 0 && d->options->version == 0)
        return fail(why, "no_version",
                    a->versions == NULL ? "the answer has no MS-ASProtocolVersions"
                                        : "MS-ASProtocolVersions has none that the phone knows");
    d->version = d->options->version != 0 ? d->options->version : best;
    return DEVICE_DONE;
}

static enum device_verdict read_provision(struct device *d, const struct wbxml_node *root,
                                          struct failure *why)
{
    bool second = d->detour == DETOUR_POLICY_KEPT || (d->detour == DETOUR_NONE && d->stage != STAGE_FIRST);
    const struct wbxml_node *policy =
        wbxml_find(wbxml_find(root, WBXML_PROVISION_POLICIES), WBXML_PROVISION_POLICY);
    unsigned status = number_of(wbxml_find(root, WBXML_PROVISION_STATUS));
    if (wbxml_find(root, WBXML_PROVISION_REMOTEWIPE) != NULL ||
        wbxml_find(root, WBXML_PROVISION_ACCOUNTONLYREMOTEWIPE) != NULL)
        return fail(why, "remote_wipe", "the server wants the device wiped");
    if (status != 1)
        return refused(d, VERB_PROVISION, status, why);
    status = number_of(wbxml_find(policy, WBXML_PROVISION_STATUS));
    const char *key = wbxml_string(wbxml_find(policy, WBXML_PROVISION_POLICYKEY));
    bool none = status == 2; /* the server has no policy: nothing to keep */
    if (policy == NULL || (!none && (status != 1 || key == NULL || strlen(key) >= sizeof d->policy_key)))
        return status > 1 ? refused(d, VERB_PROVISION, status, why)
                          : fail(why, "incomplete", "Provision's answer has no policy key");
    mem_copy_text(d->policy_key, sizeof d->policy_key, none ? "" : key);
    if (!none && !second) {
        if (d->detour != DETOUR_NONE)
            d->detour = DETOUR_POLICY_KEPT;
        else
            d->stage = STAGE_SECOND;
        return DEVICE_AGAIN;
    }
    return DEVICE_DONE;
}

static void keep_folder(struct device *d, const struct wbxml_node *add)
{
    static const uint8_t types[] = {2, 8, 9, 7}; /* the user's own default folders, MS-ASCMD 2.2.3.186.3 */
    const char *id = wbxml_string(wbxml_find(add, WBXML_FOLDERHIERARCHY_SERVERID));
    unsigned type = number_of(wbxml_find(add, WBXML_FOLDERHIERARCHY_TYPE));
    if (id == NULL || *id == '\0' || strlen(id) >= FOLDER_ID_MAX || d->folder_count == FOLDERS_MAX)
        return;
    for (unsigned kind = 0; kind < FOLDERS_MAX; kind++) {
        if (types[kind] != type || (d->options->folders >> kind & 1) == 0)
            continue;
        d->folders = mem_realloc(d->folders, (d->folder_count + 1u) * sizeof *d->folders);
        struct folder *f = &d->folders[d->folder_count++];
        *f = (struct folder){.kind = (uint8_t)kind, .key = "0"};
        strcpy(f->id, id);
    }
}

static void forget_folder(struct device *d, const char *id)
{
    for (size_t i = 0; id != NULL && i < d->folder_count; i++)
        if (strcmp(d->folders[i].id, id) == 0)
            d->folders[i--] = d->folders[--d->folder_count];
}

static enum device_verdict read_folders(struct device *d, const struct wbxml_node *root, struct failure *why)
{
    unsigned status = number_of(wbxml_find(root, WBXML_FOLDERHIERARCHY_STATUS));
    if (status == 9 &&
        strcmp(d->hierarchy, "0") != 0) { /* the key is not known any more: once more from the start */
        strcpy(d->hierarchy, "0");
        refused(d, VERB_FOLDER_SYNC, status, why);
        return mend(d);
    }
    if (status != 1)
        return refused(d, VERB_FOLDER_SYNC, status, why);
    if (strcmp(d->hierarchy, "0") == 0) {
        d->folder_count = 0;
        d->ping_known = false;
    }
    if (!take_key(d->hierarchy, wbxml_find(root, WBXML_FOLDERHIERARCHY_SYNCKEY)))
        return fail(why, "incomplete", "FolderSync's answer has no usable SyncKey");
    const struct wbxml_node *changes = wbxml_find(root, WBXML_FOLDERHIERARCHY_CHANGES);
    for (const struct wbxml_node *n = wbxml_first(changes); n != NULL; n = wbxml_next(changes, n)) {
        if (n->tag == WBXML_FOLDERHIERARCHY_ADD)
            keep_folder(d, n);
        else if (n->tag == WBXML_FOLDERHIERARCHY_DELETE)
            forget_folder(d, wbxml_string(wbxml_find(n, WBXML_FOLDERHIERARCHY_SERVERID)));
    }
    if (d->options->folders != 0 && d->folder_count == 0)
        return fail(why, "no_folders", "FolderSync tells of none of the folders that the phone keeps");
    return DEVICE_DONE;
}

/* "2026-11-27T08:45:23.123Z" (the date form of Email items); 0 for anything else. */
static int64_t time_of(const char *s)
{
    struct tm tm = {0};
    const char *end = s != NULL ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (end == NULL)
        return 0;
    int64_t ms = 1000LL * timegm(&tm);
    if (*end == '.' && strlen(end) >= 4)
        ms += strtol(end + 1, NULL, 10) % 1000;
    return ms;
}

static void note_item(struct device *d, const struct wbxml_node *data)
{
    d->items++;
    int64_t ms = time_of(wbxml_string(wbxml_find(data, WBXML_EMAIL_DATERECEIVED)));
    if (ms > d->newest_ms)
        d->newest_ms = ms;
    const struct wbxml_node *list = wbxml_find(data, WBXML_AIRSYNCBASE_ATTACHMENTS);
    const char *reference = wbxml_string(
        wbxml_find(wbxml_find(list, WBXML_AIRSYNCBASE_ATTACHMENT), WBXML_AIRSYNCBASE_FILEREFERENCE));
    if (list == NULL) /* 2.5 */
        reference = wbxml_string(
            wbxml_find(wbxml_find(wbxml_find(data, WBXML_EMAIL_ATTACHMENTS), WBXML_EMAIL_ATTACHMENT),
                       WBXML_EMAIL_ATTNAME));
    if (reference != NULL && *reference != '\0' && strlen(reference) < 256 &&
        (d->attachment == NULL || strcmp(d->attachment, reference) != 0)) {
        free(d->attachment);
        d->attachment = mem_strdup(reference);
    }
}

static struct folder *folder_of(struct device *d, const char *id)
{
    for (size_t i = 0; id != NULL && i < d->folder_count; i++)
        if (strcmp(d->folders[i].id, id) == 0)
            return &d->folders[i];
    return NULL;
}

static enum device_verdict read_collection(struct device *d, const struct wbxml_node *c, struct failure *why)
{
    struct folder *f = folder_of(d, wbxml_string(wbxml_find(c, WBXML_AIRSYNC_COLLECTIONID)));
    unsigned status = number_of(wbxml_find(c, WBXML_AIRSYNC_STATUS));
    if (f == NULL)
        return fail(why, "incomplete", "Sync's answer is about a folder that was not asked for");
    if (status == 3) { /* the key is not known any more */
        strcpy(f->key, "0");
        refused(d, VERB_SYNC, status, why);
        return mend(d);
    }
    if (status == 12 || status == 8) { /* the folders have changed */
        refused(d, VERB_SYNC, status, why);
        d->detour = DETOUR_FOLDERS;
        return mend(d);
    }
    if (status != 1)
        return refused(d, VERB_SYNC, status, why);
    bool first = strcmp(f->key, "0") == 0;
    if (!take_key(f->key, wbxml_find(c, WBXML_AIRSYNC_SYNCKEY)))
        return fail(why, "incomplete", "Sync's answer has no usable SyncKey");
    f->due = first || wbxml_find(c, WBXML_AIRSYNC_MOREAVAILABLE) != NULL;
    const struct wbxml_node *commands = wbxml_find(c, WBXML_AIRSYNC_COMMANDS);
    for (const struct wbxml_node *n = wbxml_first(commands); n != NULL; n = wbxml_next(commands, n))
        if (n->tag == WBXML_AIRSYNC_ADD)
            note_item(d, wbxml_find(n, WBXML_AIRSYNC_APPLICATIONDATA));
    return DEVICE_AGAIN;
}

/* root NULL: the answer was empty, which says that nothing has changed. */
static enum device_verdict read_sync(struct device *d, const struct wbxml_node *root, struct failure *why)
{
    if (root == NULL) {
        for (size_t i = 0; i < d->folder_count; i++) {
            if (d->folders[i].due && strcmp(d->folders[i].key, "0") == 0)
                return fail(why, "incomplete", "an empty answer to a first Sync");
            d->folders[i].due = false;
        }
        return DEVICE_DONE;
    }
    unsigned status = number_of(wbxml_find(root, WBXML_AIRSYNC_STATUS));
    if (status > 1)
        return refused(d, VERB_SYNC, status, why);
    const struct wbxml_node *all = wbxml_find(root, WBXML_AIRSYNC_COLLECTIONS);
    bool answered = false;
    for (const struct wbxml_node *c = wbxml_first(all); c != NULL; c = wbxml_next(all, c)) {
        if (c->tag != WBXML_AIRSYNC_COLLECTION)
            continue;
        enum device_verdict v = read_collection(d, c, why);
        if (v != DEVICE_AGAIN)
            return v;
        answered = true;
    }
    if (!answered)
        return fail(why, "incomplete", "Sync's answer is about no folder");
    /* Folders that it leaves out have not changed. */
    for (size_t i = 0; i < d->folder_count; i++) {
        const struct folder *f = &d->folders[i];
        bool named = false;
        for (const struct wbxml_node *c = wbxml_first(all); c != NULL && !named; c = wbxml_next(all, c)) {
            const char *id = wbxml_string(wbxml_find(c, WBXML_AIRSYNC_COLLECTIONID));
            named = id != NULL && strcmp(id, f->id) == 0;
        }
        if (!named)
            d->folders[i].due = false;
    }
    return is_any_due(d) || d->detour != DETOUR_NONE ? DEVICE_AGAIN : DEVICE_DONE;
}

static enum device_verdict read_ping(struct device *d, const struct wbxml_node *root, struct failure *why)
{
    unsigned status = number_of(wbxml_find(root, WBXML_PING_STATUS));
    const struct wbxml_node *list = wbxml_find(root, WBXML_PING_FOLDERS);
    switch (status) {
    case 1: /* the time is over */
        d->ping_known = true;
        return DEVICE_DONE;
    case 2: /* changes, and in which folders */
        d->ping_known = true;
        for (const struct wbxml_node *n = wbxml_first(list); n != NULL; n = wbxml_next(list, n)) {
            struct folder *f = folder_of(d, wbxml_string(n));
            if (f != NULL)
                f->changed = true;
        }
        if (!mark_folders(d, true))
            return fail(why, "incomplete", "Ping tells of changes in folders that it was not asked about");
        d->stage = STAGE_SECOND;
        return DEVICE_AGAIN;
    case 3: /* the server has forgotten what to watch */
        refused(d, VERB_PING, status, why);
        if (!d->ping_known)
            return DEVICE_FAILED;
        d->ping_known = false;
        return mend(d);
    case 5: { /* out of bounds: this would be right */
        unsigned s = number_of(wbxml_find(root, WBXML_PING_HEARTBEATINTERVAL));
        refused(d, VERB_PING, status, why);
        if (s == 0 || s > 86400)
            return DEVICE_FAILED;
        failure_set(why, "ping_status_5", "a heartbeat of %u s is out of bounds: %u s it is", d->heartbeat_s,
                    s);
        d->heartbeat_s = s;
        d->ping_known = false;
        return mend(d);
    }
    case 7:
        refused(d, VERB_PING, status, why);
        d->detour = DETOUR_FOLDERS;
        return mend(d);
    default:
        return refused(d, VERB_PING, status, why);
    }
}

static enum device_verdict read_fetch(struct device *d, const struct wbxml_node *root, struct failure *why)
{
    const struct wbxml_node *fetch =
        wbxml_find(wbxml_find(root, WBXML_ITEMOPERATIONS_RESPONSE), WBXML_ITEMOPERATIONS_FETCH);
    unsigned status = number_of(wbxml_find(root, WBXML_ITEMOPERATIONS_STATUS));
    if (status == 1 && fetch != NULL)
        status = number_of(wbxml_find(fetch, WBXML_ITEMOPERATIONS_STATUS));
    if (status != 1)
        return refused(d, VERB_FETCH, status, why);
    if (wbxml_find(wbxml_find(fetch, WBXML_ITEMOPERATIONS_PROPERTIES), WBXML_ITEMOPERATIONS_DATA) == NULL)
        return fail(why, "incomplete", "the answer has no attachment in it");
    return DEVICE_DONE;
}

/* What HTTP says, before anybody looks at the body. AGAIN: the body is what counts. */
static enum device_verdict read_status(struct device *d, const struct device_answer *a, struct failure *why)
{
    char kind[FAILURE_KIND];
    if (a->reason != NULL && a->reason[0] != '\0' && a->status != 200) {
        mem_copy_text(kind, sizeof kind, a->reason);
        failure_set(why, kind, "the gateway says so, with HTTP %u", a->status);
        return DEVICE_FAILED;
    }
    if (a->status == 449)
        return provision_first(d, why, "http_449");
    if (a->status != 200) {
        snprintf(kind, sizeof kind, "http_%u", a->status);
        failure_set(why, kind, "HTTP %u", a->status);
        return DEVICE_FAILED;
    }
    if (a->len > 0 && strncmp(a->type, "text/html", 9) == 0)
        return fail(why, "html_answer", "a web page came in place of ActiveSync: a sign-in form?");
    return DEVICE_AGAIN;
}

/* One answer of a verb, whatever step it belongs to. */
static enum device_verdict read_verb(struct device *d, enum verb verb, const struct wbxml_node *root,
                                     struct failure *why)
{
    switch (verb) {
    case VERB_PROVISION:
        return read_provision(d, root, why);
    case VERB_FOLDER_SYNC:
        return read_folders(d, root, why);
    case VERB_SYNC:
        return read_sync(d, root, why);
    case VERB_PING:
        return read_ping(d, root, why);
    case VERB_SEND_MAIL:
        return refused(d, verb, number_of(wbxml_find(root, WBXML_COMPOSEMAIL_STATUS)), why);
    default:
        return read_fetch(d, root, why);
    }
}

/* An empty body: success for some, a mistake of the server's for others. */
static enum device_verdict read_nothing(struct device *d, enum verb verb, struct failure *why)
{
    if (verb == VERB_SYNC)
        return read_sync(d, NULL, why);
    if (verb == VERB_SEND_MAIL)
        return DEVICE_DONE;
    return fail(why, "empty_answer", "the answer has no body");
}

static uint16_t root_of(enum verb verb)
{
    static const uint16_t roots[VERBS] = {[VERB_PROVISION] = WBXML_PROVISION_PROVISION,
                                          [VERB_FOLDER_SYNC] = WBXML_FOLDERHIERARCHY_FOLDERSYNC,
                                          [VERB_SYNC] = WBXML_AIRSYNC_SYNC,
                                          [VERB_PING] = WBXML_PING_PING,
                                          [VERB_SEND_MAIL] = WBXML_COMPOSEMAIL_SENDMAIL,
                                          [VERB_FETCH] = WBXML_ITEMOPERATIONS_ITEMOPERATIONS};
    return roots[verb];
}

/* The common Status values stand in a document of the command asked for, right under its root. */
static enum device_verdict read_body(struct device *d, enum verb verb, const struct device_answer *a,
                                     struct wbxml_tree *tree, struct failure *why)
{
    if (a->len == 0)
        return read_nothing(d, verb, why);
    if (wbxml_parse(tree, a->body, a->len) < 0) {
        failure_set(why, "not_wbxml", "byte %zu: %s", tree->at,
                    tree->why != NULL ? tree->why : "text beside elements");
        return DEVICE_FAILED;
    }
    const struct wbxml_node *root = wbxml_root(tree);
    if (root->tag != root_of(verb)) {
        const char *name = wbxml_tag_name(root->tag);
        failure_set(why, "wrong_root", "%s was asked for, %s came", verb_names[verb],
                    name != NULL ? name : "something without a name");
        return DEVICE_FAILED;
    }
    return read_verb(d, verb, root, why);
}

enum device_verdict device_answer(struct device *d, const struct device_request *asked,
                                  const struct device_answer *a, struct wbxml_tree *tree, struct failure *why)
{
    enum device_verdict v = read_status(d, a, why);
    if (v != DEVICE_AGAIN || a->status != 200)
        return v;
    if (asked->verb == VERB_OPTIONS)
        return read_options(d, a, why);
    if (strcmp(asked->command, "GetAttachment") == 0)
        return DEVICE_DONE; /* its body is the attachment */
    v = read_body(d, asked->verb, a, tree, why);
    /* A detour that is over leads back to what the step was about. */
    bool in_detour = asked->verb == VERB_PROVISION
                         ? d->detour == DETOUR_POLICY || d->detour == DETOUR_POLICY_KEPT
                         : asked->verb == VERB_FOLDER_SYNC && d->detour == DETOUR_FOLDERS;
    if (v == DEVICE_DONE && in_detour) {
        d->detour = DETOUR_NONE;
        if (asked->verb == VERB_FOLDER_SYNC && !is_any_due(d))
            mark_folders(d, false);
        return DEVICE_AGAIN;
    }
    return v;
}
