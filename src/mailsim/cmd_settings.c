/* Settings, Provision (MS-ASPROV), ValidateCert. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"

/* ---- Settings (MS-ASCMD 2.2.1.18) ---- */

enum { SETTINGS_OK = 1, SETTINGS_PROTOCOL = 2, SETTINGS_ARGUMENTS = 5 };

/* What of DeviceInformation is kept to be shown. */
static void take_device_information(struct call *c, const struct wbxml_node *information)
{
    const struct wbxml_node *set = wbxml_find(information, WBXML_SETTINGS_SET);
    struct device *d = c->device;
    char text[512];
    snprintf(text, sizeof text, "%.120s, %.120s, %.120s", child_text(set, WBXML_SETTINGS_MODEL),
             child_text(set, WBXML_SETTINGS_OS), child_text(set, WBXML_SETTINGS_FRIENDLYNAME));
    free(d->info);
    d->info = mem_strdup(text);
    d->informed = true;
}

/* Kept as a document whose root is Oof, as it was set. */
static void set_oof(struct call *c, const struct wbxml_node *set)
{
    struct buf doc;
    struct wbxml_writer w;
    buf_init(&doc, 1024 * 1024);
    wbxml_begin(&w, &doc);
    wbxml_open(&w, WBXML_SETTINGS_OOF);
    for (const struct wbxml_node *n = wbxml_first(set); n != NULL; n = wbxml_next(set, n))
        wbxml_copy(&w, n);
    wbxml_close(&w);
    if (wbxml_finish(&w) == 0) {
        free(c->box->oof);
        c->box->oof = mem_alloc(doc.len);
        memcpy(c->box->oof, doc.data, doc.len);
        c->box->oof_len = doc.len;
    }
    buf_deinit(&doc);
}

static void get_oof(const struct call *c, struct wbxml_writer *w)
{
    struct wbxml_tree t;
    const struct wbxml_node *root = NULL;
    wbxml_tree_init(&t, CALL_NODES_MAX);
    if (c->box->oof != NULL && wbxml_parse(&t, c->box->oof, c->box->oof_len) == 0)
        root = wbxml_root(&t);
    wbxml_open(w, WBXML_SETTINGS_GET);
    if (root == NULL)
        wbxml_element(w, WBXML_SETTINGS_OOFSTATE, "0");
    for (const struct wbxml_node *n = wbxml_first(root); n != NULL; n = wbxml_next(root, n))
        wbxml_copy(w, n);
    wbxml_close(w);
    wbxml_tree_deinit(&t);
}

static void run_oof(struct call *c, struct wbxml_writer *w, const struct wbxml_node *n)
{
    const struct wbxml_node *set = wbxml_find(n, WBXML_SETTINGS_SET),
                            *get = wbxml_find(n, WBXML_SETTINGS_GET);
    wbxml_open(w, WBXML_SETTINGS_OOF);
    wbxml_number(w, WBXML_SETTINGS_STATUS, set != NULL || get != NULL ? SETTINGS_OK : SETTINGS_PROTOCOL);
    if (set != NULL)
        set_oof(c, set);
    else if (get != NULL)
        get_oof(c, w);
    wbxml_close(w);
}

static void run_user_information(const struct call *c, struct wbxml_writer *w)
{
    char address[200];
    snprintf(address, sizeof address, strchr(c->box->user, '@') != NULL ? "%.150s" : "%.150s@example.com",
             c->box->user);
    wbxml_open(w, WBXML_SETTINGS_USERINFORMATION);
    wbxml_number(w, WBXML_SETTINGS_STATUS, SETTINGS_OK);
    wbxml_open(w, WBXML_SETTINGS_GET);
    if (c->version >= 141) {
        wbxml_open(w, WBXML_SETTINGS_ACCOUNTS);
        wbxml_open(w, WBXML_SETTINGS_ACCOUNT);
    }
    wbxml_open(w, WBXML_SETTINGS_EMAILADDRESSES);
    wbxml_element(w, WBXML_SETTINGS_SMTPADDRESS, address);
    if (c->version >= 141)
        wbxml_element(w, WBXML_SETTINGS_PRIMARYSMTPADDRESS, address);
    wbxml_close(w);
    if (c->version >= 141) {
        wbxml_close(w);
        wbxml_close(w);
    }
    wbxml_close(w);
    wbxml_close(w);
}

static void run_status(struct wbxml_writer *w, uint16_t tag)
{
    wbxml_open(w, tag);
    wbxml_number(w, WBXML_SETTINGS_STATUS, SETTINGS_OK);
    wbxml_close(w);
}

void cmd_settings(struct call *c)
{
    struct wbxml_writer w;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_SETTINGS_SETTINGS);
    wbxml_number(&w, WBXML_SETTINGS_STATUS, wbxml_first(c->root) != NULL ? SETTINGS_OK : SETTINGS_PROTOCOL);
    for (const struct wbxml_node *n = wbxml_first(c->root); n != NULL; n = wbxml_next(c->root, n)) {
        switch (n->tag) {
        case WBXML_SETTINGS_OOF:
            run_oof(c, &w, n);
            break;
        case WBXML_SETTINGS_DEVICEINFORMATION:
            take_device_information(c, n);
            run_status(&w, n->tag);
            break;
        case WBXML_SETTINGS_DEVICEPASSWORD:
            run_status(&w, n->tag); /* a recovery password: taken, and nothing done with it */
            break;
        case WBXML_SETTINGS_USERINFORMATION:
            run_user_information(c, &w);
            break;
        default:
            break;
        }
    }
    wbxml_close(&w);
    command_finish(c, &w);
}

/* ---- Provision (MS-ASPROV): handed out with a temporary key, in force when it is acknowledged ---- */

#define POLICY_WBXML "MS-EAS-Provisioning-WBXML"
#define POLICY_XML   "MS-WAP-Provisioning-XML" /* 2.5 */

enum {
    PROVISION_OK = 1,
    PROVISION_PROTOCOL = 2,
    POLICY_STATUS_NONE = 2,
    POLICY_UNKNOWN_TYPE = 3,
    POLICY_WRONG_KEY = 5
};

static uint32_t new_key(struct call *c)
{
    uint64_t *random = boxes_random(c->boxes);
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    uint32_t key = (uint32_t)(*random >> 33);
    return key != 0 ? key : 1;
}

static void write_policy(const struct call *c, struct wbxml_writer *w)
{
    wbxml_open(w, WBXML_PROVISION_DATA);
    if (c->version < 120) {
        wbxml_text(
            w,
            "<wap-provisioningdoc><characteristic type=\"SecurityPolicy\"><parm name=\"4131\" value=\"1\"/>"
            "</characteristic></wap-provisioningdoc>");
    } else {
        static const struct {
            uint16_t tag;
            const char *value;
        } rules[] = {
            {WBXML_PROVISION_DEVICEPASSWORDENABLED, "0"},
            {WBXML_PROVISION_ALPHANUMERICDEVICEPASSWORDREQUIRED, "0"},
            {WBXML_PROVISION_PASSWORDRECOVERYENABLED, "0"},
            {WBXML_PROVISION_ATTACHMENTSENABLED, "1"},
            {WBXML_PROVISION_MINDEVICEPASSWORDLENGTH, "4"},
            {WBXML_PROVISION_MAXINACTIVITYTIMEDEVICELOCK, "900"},
            {WBXML_PROVISION_MAXDEVICEPASSWORDFAILEDATTEMPTS, "8"},
            {WBXML_PROVISION_ALLOWSIMPLEDEVICEPASSWORD, "1"},
            {WBXML_PROVISION_DEVICEPASSWORDEXPIRATION, "0"},
            {WBXML_PROVISION_DEVICEPASSWORDHISTORY, "0"},
            {WBXML_PROVISION_ALLOWSTORAGECARD, "1"},
            {WBXML_PROVISION_ALLOWCAMERA, "1"},
            {WBXML_PROVISION_REQUIREDEVICEENCRYPTION, "0"},
            {WBXML_PROVISION_ALLOWBROWSER, "1"},
            {WBXML_PROVISION_ALLOWCONSUMEREMAIL, "1"},
        };
        wbxml_open(w, WBXML_PROVISION_EASPROVISIONDOC);
        for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
            if (wbxml_tag_is_in(rules[i].tag, c->version))
                wbxml_element(w, rules[i].tag, rules[i].value);
        }
        wbxml_close(w);
    }
    wbxml_close(w);
}

/* A policy: asked for, or acknowledged. */
static void run_policy(struct call *c, struct wbxml_writer *w, const struct wbxml_node *policy)
{
    struct device *d = c->device;
    const char *type = child_text(policy, WBXML_PROVISION_POLICYTYPE);
    const char *key = child_text(policy, WBXML_PROVISION_POLICYKEY);
    const char *wanted = c->version < 120 ? POLICY_XML : POLICY_WBXML;
    bool acknowledged = key[0] != '\0' && strcmp(key, "0") != 0;
    unsigned status = PROVISION_OK;
    uint32_t given = 0;
    if (strcmp(type, wanted) != 0) {
        status = POLICY_UNKNOWN_TYPE;
    } else if (c->policy == POLICY_NONE) {
        status = POLICY_STATUS_NONE;
    } else if (!acknowledged) {
        given = d->policy_temporary = new_key(c);
    } else if (strtoul(key, NULL, 10) != d->policy_temporary) {
        status = POLICY_WRONG_KEY;
    } else {
        given = d->policy_key = new_key(c);
        d->policy_temporary = 0;
    }
    wbxml_open(w, WBXML_PROVISION_POLICIES);
    wbxml_open(w, WBXML_PROVISION_POLICY);
    wbxml_element(w, WBXML_PROVISION_POLICYTYPE, type);
    wbxml_number(w, WBXML_PROVISION_STATUS, status);
    if (given != 0)
        wbxml_number(w, WBXML_PROVISION_POLICYKEY, given);
    if (given != 0 && !acknowledged)
        write_policy(c, w);
    wbxml_close(w);
    wbxml_close(w);
}

/* The device says what became of the wipe it was told of. */
static void take_wipe_answer(struct call *c, const struct wbxml_node *wipe)
{
    struct device *d = c->device;
    if (d->wipe == 2 && node_number(wbxml_find(wipe, WBXML_PROVISION_STATUS), 0) == 1)
        d->wipe = 3;
}

void cmd_provision(struct call *c)
{
    struct device *d = c->device;
    const struct wbxml_node *policies = wbxml_find(c->root, WBXML_PROVISION_POLICIES);
    const struct wbxml_node *policy = wbxml_find(policies, WBXML_PROVISION_POLICY);
    const struct wbxml_node *information = wbxml_find(c->root, WBXML_SETTINGS_DEVICEINFORMATION);
    const struct wbxml_node *wipe = wbxml_find(c->root, WBXML_PROVISION_REMOTEWIPE);
    const struct wbxml_node *account = wbxml_find(c->root, WBXML_PROVISION_ACCOUNTONLYREMOTEWIPE);
    struct wbxml_writer w;
    if (policy == NULL && wipe == NULL && account == NULL) {
        command_own_status(c, PROVISION_PROTOCOL);
        return;
    }
    if (information != NULL)
        take_device_information(c, information);
    if (wipe != NULL || account != NULL)
        take_wipe_answer(c, wipe != NULL ? wipe : account);
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_PROVISION_PROVISION);
    if (information != NULL && c->version >= 141)
        run_status(&w, WBXML_SETTINGS_DEVICEINFORMATION);
    wbxml_number(&w, WBXML_PROVISION_STATUS, PROVISION_OK);
    if (d->wipe == 1 || d->wipe == 2) {
        bool only = d->wipe_account_only && c->version >= 161;
        wbxml_empty(&w, only ? WBXML_PROVISION_ACCOUNTONLYREMOTEWIPE : WBXML_PROVISION_REMOTEWIPE);
        d->wipe = 2;
    } else if (policy != NULL) {
        run_policy(c, &w, policy);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}

/* ---- ValidateCert (MS-ASCMD 2.2.1.22) ---- */

void cmd_validate_cert(struct call *c)
{
    /* Without a store of trusted roots for S/MIME no certificate can be called good. */
    const struct wbxml_node *list = wbxml_find(c->root, WBXML_VALIDATECERT_CERTIFICATES);
    const struct wbxml_node *n = wbxml_find(list, WBXML_VALIDATECERT_CERTIFICATE);
    struct wbxml_writer w;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_VALIDATECERT_VALIDATECERT);
    wbxml_number(&w, WBXML_VALIDATECERT_STATUS, n != NULL ? 1 : 2);
    for (; n != NULL; n = wbxml_find_next(list, n, WBXML_VALIDATECERT_CERTIFICATE)) {
        wbxml_open(&w, WBXML_VALIDATECERT_CERTIFICATE);
        wbxml_number(&w, WBXML_VALIDATECERT_STATUS, 4); /* untrusted root */
        wbxml_close(&w);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}
