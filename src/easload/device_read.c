/* What a phone makes of an answer: HTTP's status, the document's root, then what the command is about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "device_impl.h"
#include "proto/eas.h"

#define MENDED_MAX 4 /* in one step: what still does not go then is a failure */

static bool is_any_due(const struct device *d)
{
    for (size_t i = 0; i < d->folder_count; i++)
        if (d->folders[i].due)
            return true;
    return false;
}

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
        if (!device_mark_folders(d, true))
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
            device_mark_folders(d, false);
        return DEVICE_AGAIN;
    }
    return v;
}
