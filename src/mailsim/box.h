/* Mailboxes in memory: folders, items, what each device knows of them, and who waits for news. Made when
 * first asked for; what is generated (gen.h) takes no memory until it is changed. Knows no HTTP and no
 * ActiveSync commands.
 *
 * Every change in a folder gets the next number of that folder (modseq), and a device's state is the number
 * up to which it knows the folder: a Sync is what lies between the two. Generated mails have the numbers 1
 * (the newest) to folder.generated, in this order, so that a first Sync brings new mail first.
 */
#ifndef STAGATE_MAILSIM_BOX_H
#define STAGATE_MAILSIM_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "gen.h"
#include "mail.h"

#define BOX_DEVICE_MAX 128 /* bytes of a device ID and a NUL, as eas_query has it */
#define BOX_DEVICES    64  /* of one user */
#define BOX_FOLDERS    1000
#define BOX_USERS_MAX  1000000
#define BOX_KEY_DIGITS 16

/* Classes of items (MS-ASCMD 2.2.3.27). */
enum item_class { CLASS_EMAIL, CLASS_CALENDAR, CLASS_CONTACTS, CLASS_TASKS, CLASS_NOTES, CLASSES };
extern const char *const class_names[CLASSES]; /* "Email", ... */

/* Folder types (MS-ASCMD 2.2.3.186.2), and the IDs of those that every box has. */
enum folder_type {
    TYPE_USER = 1,
    TYPE_INBOX = 2,
    TYPE_DRAFTS = 3,
    TYPE_DELETED = 4,
    TYPE_SENT = 5,
    TYPE_OUTBOX = 6,
    TYPE_TASKS = 7,
    TYPE_CALENDAR = 8,
    TYPE_CONTACTS = 9,
    TYPE_NOTES = 10,
    TYPE_USER_MAIL = 12,
    TYPE_USER_CALENDAR = 13,
    TYPE_USER_CONTACTS = 14,
    TYPE_USER_TASKS = 15,
    TYPE_USER_NOTES = 17,
};
#define FOLDER_DEFAULTS                                                                                      \
    9 /* IDs 1 to 9: Inbox, Drafts, Deleted Items, Sent Items, Outbox, Tasks, Calendar, Contacts, Notes */
#define FOLDER_INBOX    1
#define FOLDER_DRAFTS   2
#define FOLDER_DELETED  3
#define FOLDER_SENT     4
#define FOLDER_TASKS    6
#define FOLDER_CALENDAR 7
#define FOLDER_CONTACTS 8
#define FOLDER_NOTES    9

struct device;

/* What was changed or has come since the box was made. */
struct item {
    uint32_t id; /* in its folder: 1 to folder.generated for generated ones, then counting up */
    bool gone;   /* deleted: kept so that devices learn of it */
    bool read;
    bool draft;
    bool answered;   /* an invitation to which the client has said yes or no */
    uint8_t verb;    /* Email2 LastVerbExecuted: 0 none, 1 reply, 2 reply to all, 3 forward */
    int64_t verb_ms; /* when */
    uint64_t created, modseq;
    uint64_t before;         /* modseq before the last change */
    const struct device *by; /* who changed it last; NULL: not a device */
    struct list link;        /* in folder.changed_items */
    struct letter *letter;   /* mail, counted; NULL: generated, or no mail */
    uint8_t *data; /* owned, or NULL: a document whose root is ApplicationData: all of an item that is no
                      mail, what clients have set (flag, categories) of a mail */
    size_t len;
};

struct folder {
    uint32_t id;     /* its ServerId, counting up in the box */
    uint32_t parent; /* 0: the root */
    uint8_t type;    /* enum folder_type */
    bool gone;
    enum item_class item_class;
    char *name;                /* owned */
    uint64_t created, changed; /* in the numbers of box.hierarchy */
    uint32_t generated;        /* items 1 to this are generated unless they are in `items` */
    uint32_t last_id;
    uint64_t modseq;
    struct item **items; /* owned, by id */
    size_t count, cap;
    size_t alive;              /* items that are not gone, generated ones too */
    struct list changed_items; /* the one changed last at the end */
};

/* What a device has been told of one folder. Two keys are good: the last one, and the one before it, with
 * which a client asks again that has lost the answer. */
struct collection {
    uint32_t folder;
    uint32_t key;               /* 0: none yet */
    uint64_t seen, seen_before; /* modseq */
    uint64_t born; /* the folder's modseq at key 0: what the device did before it has forgotten */
    /* The first pass: what was there at key 0, IDs up to pass_last, is told by place, the newest mail first.
     * Changes come after it. */
    uint32_t pass_last;
    uint32_t pass_at, pass_at_before; /* places told; pass_last: all of them */
    int64_t since, since_before;      /* mail older than this was left out; 0: none was */
    /* what an empty or partial Sync means again */
    uint16_t window;
    uint8_t filter;
    uint8_t conflict; /* 1: the server wins */
    uint8_t mime;     /* MIMESupport */
    uint8_t body_count;
    struct body_preference {
        uint8_t type;  /* 1 text, 2 HTML, 3 RTF, 4 MIME */
        bool whole;    /* AllOrNone */
        uint32_t size; /* TruncationSize; UINT32_MAX: all */
        uint32_t preview;
    } bodies[4];
    bool no_changes; /* GetChanges 0 */
    bool cached;     /* part of the last full Sync */
    /* items the client added with the key before, so that asking again adds nothing */
    struct added {
        uint32_t id;
        char client_id[64 + 1];
    } * added; /* owned */
    size_t added_count;
};

/* Someone who waits for a change in the box. `wake` is called once, out of boxes_run_woken, and the waiter is
 * off the list then. */
enum wake { WAKE_CHANGE, WAKE_REPLACED };
struct waiter {
    struct list link; /* in box.waiters, or among the woken */
    struct device *device;
    enum wake why;
    void (*wake)(struct waiter *w, enum wake why);
};

struct ping_folder {
    uint32_t id;
    enum item_class item_class;
};

struct device {
    char *id;                  /* owned, as told */
    char *type;                /* owned */
    char *agent;               /* owned; NULL */
    uint32_t index;            /* in box.devices */
    uint32_t policy_key;       /* in force; 0: none */
    uint32_t policy_temporary; /* handed out, to be acknowledged */
    uint8_t wipe;              /* 0; 1 asked for, 2 told, 3 acknowledged */
    bool wipe_account_only;
    bool blocked;
    bool informed;       /* has sent DeviceInformation */
    uint32_t folder_key; /* FolderSync; 0: none */
    uint64_t hierarchy, hierarchy_before;
    uint32_t heartbeat_s;     /* of its last full Ping; 0: none */
    struct ping_folder *ping; /* owned */
    size_t ping_count;
    uint32_t sync_wait_s; /* of its last full Sync, for an empty one */
    uint16_t sync_window;
    struct collection *collections; /* owned */
    size_t collection_count;
    struct waiter *waiter; /* the Ping or Sync that hangs; NULL */
    char *info;            /* owned: Model and the like as they came; NULL */
};

struct box {
    char *user;              /* owned, lower case */
    uint64_t seed;           /* of its generated content */
    struct folder **folders; /* owned, by id - 1; NULL: a default one that nothing has touched */
    size_t folder_count, folder_cap;
    uint64_t hierarchy;      /* number of the last change of the folders */
    struct device **devices; /* owned */
    size_t device_count;
    struct list waiters;
    char *oof; /* owned: the out-of-office document as last set; NULL */
    size_t oof_len;
};

struct boxes;

struct boxes_options {
    uint32_t mails; /* in a new inbox; the other classes get a tenth each, at least 5 if there are any */
    uint64_t seed;
    int64_t newest_ms;             /* wall clock of the newest generated mail */
    void (*on_woken)(void *owner); /* somebody is to be woken: call boxes_run_woken, but not from here */
    void *owner;
};

struct boxes *boxes_new(const struct boxes_options *options);
void boxes_free(struct boxes *b);
/* The user's box (compared in lower case), made when it is new; NULL above BOX_USERS_MAX. */
struct box *boxes_open(struct boxes *b, const char *user);
struct box *boxes_find(struct boxes *b, const char *user);
size_t boxes_count(const struct boxes *b);
void boxes_run_woken(struct boxes *b);
void boxes_each(struct boxes *b, void (*each)(struct box *box, void *owner), void *owner);
const struct gen *boxes_gen(const struct boxes *b);
uint64_t *boxes_random(struct boxes *b); /* what is random beyond the generated content */

/* ---- folders ---- */
/* NULL: no such folder, or it is gone. */
struct folder *box_folder(struct boxes *b, struct box *box, uint32_t id);
/* One of a number that a folder has had, gone ones too; NULL beyond the last. For default ones that nothing
 * has touched it makes the entry. */
struct folder *box_folder_any(struct boxes *b, struct box *box, uint32_t id);
/* The same to be looked at only: a default one that nothing has touched is described in *untouched instead.
 */
const struct folder *box_folder_peek(const struct box *box, uint32_t id, struct folder *untouched);
uint32_t box_last_folder(const struct box *box); /* IDs go from 1 to this */
struct folder *box_add_folder(struct boxes *b, struct box *box, uint32_t parent, uint8_t type,
                              const char *name);
void box_change_folder(struct boxes *b, struct box *box, struct folder *f, uint32_t parent, const char *name);
/* With all below it. */
void box_remove_folder(struct boxes *b, struct box *box, struct folder *f);

/* ---- items ---- */
/* A look at an item, whether it is generated or kept. */
struct look {
    uint32_t id;
    struct item *item; /* NULL: generated and unchanged */
    uint64_t created, modseq;
    bool gone, read;
};
/* False: no item has had this ID. */
bool folder_look(const struct folder *f, uint64_t box_seed, uint32_t id, struct look *out);
/* What has changed behind number `after`, in the order of change. In place, nothing to free; the folder must
 * not change meanwhile. */
struct folder_walk {
    const struct folder *folder;
    uint64_t after;
    const struct list *at;
};
void folder_walk_init(struct folder_walk *w, const struct folder *f, uint64_t after);
bool folder_walk_next(struct folder_walk *w, uint64_t box_seed, struct look *out);
/* The item itself, made out of a generated one where it has to be. */
struct item *folder_own(struct boxes *b, struct box *box, struct folder *f, uint32_t id);
/* New ones; both wake who waits. A letter is counted, data (an ApplicationData document) copied. */
struct item *folder_add_mail(struct boxes *b, struct box *box, struct folder *f, struct letter *l,
                             const struct device *by);
struct item *folder_add(struct boxes *b, struct box *box, struct folder *f, const void *data, size_t len,
                        const struct device *by);
/* The item has changed: gives it a new number, wakes who waits. by: see item. */
void folder_touch(struct boxes *b, struct box *box, struct folder *f, struct item *it,
                  const struct device *by);
void folder_delete(struct boxes *b, struct box *box, struct folder *f, uint32_t id, const struct device *by);
void item_set_data(struct item *it, const void *data, size_t len); /* NULL: none */
/* Moves it into another folder of the class, where it has a new ID; NULL: no such item. by: who took it away;
 * knows: who knows where it is now. */
struct item *folder_move(struct boxes *b, struct box *box, struct folder *f, uint32_t id, struct folder *to,
                         const struct device *by, const struct device *knows);
/* When a mail came; 0 for other classes. */
int64_t folder_received_ms(const struct boxes *b, const struct box *box, const struct folder *f,
                           const struct look *look);
/* The mail; what is generated lies in the scratch. */
void folder_mail(const struct boxes *b, const struct box *box, const struct look *look, struct gen_scratch *s,
                 struct mail *out);
/* Appends the ApplicationData document of an item that is no mail. */
void folder_data(const struct boxes *b, const struct box *box, const struct folder *f,
                 const struct look *look, struct buf *out);
/* How many there are (not gone). */
size_t folder_items(const struct folder *f);

/* A mail arrives in the inbox. NULL: one is made up. */
void box_deliver(struct boxes *b, struct box *box, struct letter *l);

/* ---- devices ---- */
/* The box's device of that ID, made when new; NULL when it is empty or there are too many. */
struct device *box_device(struct box *box, const char *id, const char *type);
struct device *box_find_device(struct box *box, const char *id);
/* Forgets what the device knows; who waits is woken. */
void box_forget_device(struct boxes *b, struct box *box, struct device *d);
struct collection *device_collection(struct device *d, uint32_t folder); /* NULL: none */
struct collection *device_add_collection(struct device *d, uint32_t folder);
void collection_reset(struct collection *c);

/* ---- waiting ---- */
/* Takes the place of the device's one before, which is woken (WAKE_REPLACED). */
void box_wait(struct boxes *b, struct box *box, struct waiter *w);
void box_stop_waiting(struct waiter *w); /* at any time, any number of times */

#endif
