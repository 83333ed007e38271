/* A phone's side of ActiveSync. What a step is made of stands in its two functions, one that asks and one
 * that reads; a server that wants provisioning or a new folder list first gets that in between (detour). */
#include "device_impl.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/visible.h"

const char *const step_names[] = {"options", "provision", "folder-sync", "sync",
                                  "ping",    "send-mail", "attachment",  NULL};
const char *const verb_names[] = {"OPTIONS", "Provision", "FolderSync", "Sync", "Ping", "SendMail", "Fetch"};
const char *const folder_names[] = {"inbox", "calendar", "contacts", "tasks", NULL};

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

bool device_mark_folders(struct device *d, bool only_changed)
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
        device_mark_folders(d, false);
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
