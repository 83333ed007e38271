/* Generated content. Every property comes out of one hash of seed and number: nothing is kept. */
#include "gen.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define HOUR_MS  3600000LL
#define DAY_MS   (24 * HOUR_MS)
#define SPACING  (7 * HOUR_MS) /* between two mails, more or less */
#define THREAD   4             /* mails with one topic, one behind the other */

struct person {
    const char *first, *last, *address, *phone, *company, *city, *country, *title;
};

static const struct person people[] = {
    {"Carol", "Sender", "carol@example.com", "+1 202 555 0101", "Example Inc.", "Boston", "United States",
     "Engineer"},
    {"Dmitri", "Lang", "dmitri@example.com", "+49 30 555 0102", "Beispiel GmbH", "Berlin", "Germany",
     "Buyer"},
    {"Erika", "Mustermann", "erika@example.com", "+49 89 555 0103", "Beispiel GmbH", "München", "Germany",
     "Head of Sales"},
    {"François", "Petit", "francois@example.net", "+33 1 5550 0104", "Exemple SA", "Besançon", "France",
     "Architecte"},
    {"Yuki", "Tanaka", "yuki@example.org", "+81 3 5550 0105", "株式会社例", "東京", "Japan", "部長"},
    {"Søren", "Ørsted", "soren@example.org", "+45 55 50 01 06", "Eksempel ApS", "Århus", "Denmark",
     "Konsulent"},
    {"Олена", "Коваль", "olena@example.net", "+380 44 555 0107", "Приклад", "Київ", "Ukraine", "Інженерка"},
    {"Noa", "Levi", "noa@example.net", "+972 3 555 0108", "דוגמה", "תל אביב", "Israel", "מנהלת"},
    {"李", "明", "liming@example.org", "+86 10 5550 0109", "示例公司", "北京", "China", "经理"},
    {"José", "Núñez", "jose@example.com", "+34 91 555 0110", "Ejemplo SL", "A Coruña", "Spain", "Director"},
    {"Zoë", "O'Brien", "zoe@example.com", "+353 1 555 0111", "Example & Sons", "Dún Laoghaire", "Ireland",
     "Editor"},
    {"Łukasz", "Żak", "lukasz@example.net", "+48 22 555 0112", "Przykład sp. z o.o.", "Łódź", "Poland",
     "Tester"},
};

static const struct {
    const char *subject, *greeting, *body, *regards;
} letters[] = {
    {"Minutes of Monday's meeting", "Dear %s,",
     "the minutes are below. Please tell me by Thursday if something is missing. The budget stays as it is; "
     "the office moves in spring.",
     "Best regards"},
    {"Budget for the next quarter", "Hello %s,",
     "the numbers are final: 1,250.00 for travel, 380.00 for training. \"No changes\" <until June> & no "
     "exceptions.",
     "Regards"},
    {"Reise nach Zürich", "Hallo %s,",
     "die Züge sind gebucht, das Hotel auch. Die Straße vor dem Büro ist gesperrt, bitte den Hintereingang "
     "nehmen. Grüße an alle!",
     "Viele Grüße"},
    {"Plan de la semaine", "Bonjour %s,",
     "voici le plan : réunion lundi à 9 h, déjeuner mardi, livraison jeudi. N'oubliez pas la clé du garage, "
     "s'il vous plaît.",
     "Cordialement"},
    {"Confirmación de su pedido nº 4711", "Hola, %s:",
     "¡gracias por su pedido! Llegará mañana entre las 9 y las 12. ¿Alguna pregunta? Escríbanos.",
     "Un saludo"},
    {"Повестка дня на пятницу", "Здравствуйте, %s!",
     "высылаю повестку дня. Начинаем в десять, заканчиваем до обеда. Вопросы присылайте заранее.",
     "С уважением"},
    {"会議のお知らせ", "%s 様",
     "来週の会議は水曜日の午後二時からです。資料は添付ファイルをご覧ください。よろしくお願いいたします。",
     "敬具"},
    {"合同草案", "%s，你好：", "附件是合同草案，请在周五之前确认。如有问题请随时联系我。", "此致敬礼"},
    {"סיכום הפגישה", "שלום %s,", "מצורף סיכום הפגישה מיום שני. נא לאשר עד יום חמישי, 12:00.", "בברכה"},
    {"Lunch on Thursday? 🍜", "Hi %s 👋",
     "there is a new place around the corner. 12:30? I can book a table for four. 🎉", "See you"},
    {"Your order has been shipped", "Dear %s,",
     "your parcel is on its way and should be with you in two days. Follow it at "
     "https://shop.example.com/track?id=4711&lang=en.",
     "The team"},
    {"Szkic umowy", "Dzień dobry, %s,",
     "w załączniku szkic umowy. Proszę o uwagi do środy: źdźbło, żółć, gęślą jaźń.", "Pozdrawiam"},
};

static const char *const places[] = {"Room 4.02", "Café Zürich", "会議室 3", "https://meet.example.com/4711",
                                     "Building B, 2nd floor"};
static const char *const tasks[] = {"Renew the certificate", "Call the landlord", "Read the contract",
                                    "Prepare the slides", "Buy tickets"};
static const char *const notes[] = {"Ideas", "Shopping", "Wi-Fi of the office", "Books to read", "Überblick"};

/* splitmix64: small, good enough for mail that looks different, the same everywhere */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t hash_of(uint64_t seed, uint64_t number)
{
    uint64_t state = seed ^ (number * 0xd6e8feb86659fd93u);
    return next_random(&state);
}

uint64_t gen_box_seed(const struct gen *g, const char *user)
{
    uint64_t h = 0xcbf29ce484222325u ^ g->seed;
    for (; *user != '\0'; user++)
        h = (h ^ (unsigned char)tolower((unsigned char)*user)) * 0x100000001b3u;
    return h;
}

static void mailbox_of(char *dst, size_t cap, const struct person *p)
{
    snprintf(dst, cap, "\"%s %s\" <%s>", p->first, p->last, p->address);
}

static void own_mailbox(char *dst, size_t cap, const char *user)
{
    snprintf(dst, cap, strchr(user, '@') != NULL ? "%.120s" : "%.120s@example.com", user);
}

/* ---- mail ---- */

int64_t gen_received_ms(const struct gen *g, uint64_t box_seed, uint32_t number)
{
    int64_t late = (int64_t)(hash_of(box_seed ^ 1, number) % (SPACING / 2));
    return g->newest_ms - ((int64_t)number - 1) * SPACING - late;
}

bool gen_is_read(uint64_t box_seed, uint32_t number)
{
    return number > 5 && hash_of(box_seed ^ 2, number) % 4 != 0; /* the newest ones were not seen yet */
}

/* HTML that says the same as the text. */
static void write_html(struct gen_scratch *s, const char *greeting, const char *body, const char *regards,
                       const char *name)
{
    char escaped[2048];
    size_t n = 0;
    for (const char *p = body; *p != '\0' && n + 8 < sizeof escaped; p++) {
        const char *entity = *p == '<'   ? "&lt;"
                             : *p == '>' ? "&gt;"
                             : *p == '&' ? "&amp;"
                             : *p == '"' ? "&quot;"
                                         : NULL;
        n += (size_t)snprintf(escaped + n, sizeof escaped - n, entity != NULL ? "%s" : "%.1s",
                              entity != NULL ? entity : p);
    }
    escaped[n] = '\0';
    snprintf(s->html, sizeof s->html,
             "<html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"></head>\r\n"
             "<body><p>%s</p>\r\n<p>%s</p>\r\n<p><i>%s</i><br>%s</p></body></html>\r\n",
             greeting, escaped, regards, name);
}

static void add_file(struct gen_scratch *s, uint64_t random, struct mail *m)
{
    static const char *const types[] = {"text/plain", "text/csv", "application/pdf", "image/png"};
    static const char *const names[] = {"notes.txt", "numbers.csv", "Vertrag (Entwurf).pdf", "Übersicht.png"};
    size_t kind = random % COUNT(types);
    size_t len = 200 + (random >> 8) % (sizeof s->file - 200);
    for (size_t i = 0; i < len; i++)
        s->file[i] =
            kind < 2 ? (uint8_t)(i % 64 == 63 ? '\n' : 'a' + (random + i) % 26) : (uint8_t)(random >> i % 57);
    mem_copy_text(s->file_name, sizeof s->file_name, names[kind]);
    m->attachments[0] = (struct mail_attachment){
        .name = s->file_name, .type = types[kind], .content_id = "", .data = s->file, .len = len};
    m->attachment_count = 1;
}

static void make(const struct gen *g, uint64_t thread, uint64_t random, bool reply, const char *user,
                 struct gen_scratch *s, struct mail *m)
{
    size_t l = thread % COUNT(letters);
    const struct person *from = &people[random % COUNT(people)];
    char greeting[256], name[128];
    (void)g;
    *m = (struct mail){.to = s->to,
                       .from = s->from,
                       .cc = "",
                       .bcc = "",
                       .reply_to = "",
                       .subject = s->subject,
                       .text = s->text,
                       .importance = MAIL_IMPORTANCE_NORMAL};
    mailbox_of(s->from, sizeof s->from, from);
    own_mailbox(s->to, sizeof s->to, user);
    snprintf(s->subject, sizeof s->subject, "%s%s", reply ? "Re: " : "", letters[l].subject);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(greeting, sizeof greeting, letters[l].greeting, user);
#pragma GCC diagnostic pop
    snprintf(name, sizeof name, "%s %s", from->first, from->last);
    int n = snprintf(s->text, sizeof s->text, "%s\r\n\r\n", greeting);
    for (unsigned i = 0; i <= (random >> 16) % 4; i++)
        n += snprintf(s->text + n, sizeof s->text - (size_t)n, "%s\r\n\r\n", letters[l].body);
    snprintf(s->text + n, sizeof s->text - (size_t)n, "%s\r\n%s\r\n", letters[l].regards, name);
    if ((random >> 20) % 2 == 0) {
        write_html(s, greeting, letters[l].body, letters[l].regards, name);
        m->html = s->html;
        if ((random >> 21) % 4 == 0)
            m->text = NULL; /* such mail exists: a server makes the text itself */
    }
    if ((random >> 24) % 6 == 0)
        m->cc = "team@example.com, \"Boss\" <boss@example.com>";
    if ((random >> 28) % 12 == 0)
        m->importance = MAIL_IMPORTANCE_HIGH;
    if ((random >> 32) % 8 == 0)
        add_file(s, random >> 36, m);
    uint64_t a = hash_of(thread, 11), b = hash_of(thread, 12);
    memcpy(m->conversation, &a, 8);
    memcpy(m->conversation + 8, &b, 8);
}

static void invite(uint64_t random, struct gen_scratch *s, struct mail *m)
{
    int64_t day = m->received_ms - m->received_ms % DAY_MS + (int64_t)(1 + random % 14) * DAY_MS;
    snprintf(s->uid, sizeof s->uid, "%016llx@example.com", (unsigned long long)random);
    mem_copy_text(s->organizer, sizeof s->organizer, s->from);
    s->meeting = (struct mail_meeting){.uid = s->uid,
                                       .location = places[(random >> 8) % COUNT(places)],
                                       .organizer = s->organizer,
                                       .start_ms = day + 9 * HOUR_MS,
                                       .end_ms = day + 10 * HOUR_MS};
    m->meeting = &s->meeting;
}

void gen_mail(const struct gen *g, uint64_t box_seed, const char *user, uint32_t number,
              struct gen_scratch *s, struct mail *out)
{
    uint64_t random = hash_of(box_seed ^ 3, number);
    uint64_t thread = hash_of(box_seed ^ 4, number / THREAD);
    make(g, thread, random, number % THREAD != THREAD - 1, user, s, out);
    out->received_ms = gen_received_ms(g, box_seed, number);
    out->read = gen_is_read(box_seed, number);
    if (number % 20 == 7)
        invite(random, s, out);
}

void gen_arrival(const struct gen *g, uint64_t *random, const char *user, int64_t now_ms,
                 struct gen_scratch *s, struct mail *out)
{
    uint64_t thread = next_random(random);
    make(g, thread, next_random(random), false, user, s, out);
    out->received_ms = now_ms;
}

/* ---- the other classes ---- */

void gen_time(struct wbxml_writer *w, uint16_t tag, int64_t ms)
{
    static const int keep[] = {0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15, 17, 18};
    char text[CLOCK_TEXT], dense[20];
    clock_format(text, ms);
    for (size_t i = 0; i < COUNT(keep); i++)
        dense[i] = text[keep[i]];
    memcpy(dense + COUNT(keep), "Z", 2);
    wbxml_element(w, tag, dense);
}

static void write_time(struct wbxml_writer *w, uint16_t tag, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(text, ms);
    wbxml_element(w, tag, text);
}

static void write_body(struct wbxml_writer *w, const char *text)
{
    wbxml_open(w, WBXML_AIRSYNCBASE_BODY);
    wbxml_element(w, WBXML_AIRSYNCBASE_TYPE, "1");
    wbxml_number(w, WBXML_AIRSYNCBASE_ESTIMATEDDATASIZE, (int64_t)strlen(text));
    wbxml_element(w, WBXML_AIRSYNCBASE_DATA, text);
    wbxml_close(w);
}

void gen_contact(uint64_t box_seed, uint32_t number, struct wbxml_writer *w)
{
    const struct person *p = &people[(number - 1) % COUNT(people)];
    uint32_t round = (number - 1) / COUNT(people);
    char name[160], address[160];
    (void)box_seed;
    if (round == 0) {
        snprintf(name, sizeof name, "%s, %s", p->last, p->first);
        mem_copy_text(address, sizeof address, p->address);
    } else { /* there are more contacts than people: their colleagues */
        snprintf(name, sizeof name, "%s %u, %s", p->last, round + 1, p->first);
        snprintf(address, sizeof address, "%u.%s", round + 1, p->address);
    }
    wbxml_element(w, WBXML_CONTACTS_FILEAS, name);
    wbxml_element(w, WBXML_CONTACTS_FIRSTNAME, p->first);
    wbxml_element(w, WBXML_CONTACTS_LASTNAME, p->last);
    wbxml_element(w, WBXML_CONTACTS_EMAIL1ADDRESS, address);
    wbxml_element(w, WBXML_CONTACTS_MOBILEPHONENUMBER, p->phone);
    wbxml_element(w, WBXML_CONTACTS_COMPANYNAME, p->company);
    wbxml_element(w, WBXML_CONTACTS_JOBTITLE, p->title);
    wbxml_element(w, WBXML_CONTACTS_BUSINESSADDRESSCITY, p->city);
    wbxml_element(w, WBXML_CONTACTS_BUSINESSADDRESSCOUNTRY, p->country);
}

const char gen_utc[] =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

void gen_appointment(const struct gen *g, uint64_t box_seed, const char *user, uint32_t number,
                     struct wbxml_writer *w)
{
    uint64_t random = hash_of(box_seed ^ 5, number);
    int64_t day = g->newest_ms - g->newest_ms % DAY_MS + ((int64_t)number - 5) * DAY_MS; /* around today */
    bool all_day = random % 8 == 0;
    int64_t start = day + (all_day ? 0 : (int64_t)(8 + random % 9) * HOUR_MS);
    char uid[64], own[160];
    snprintf(uid, sizeof uid, "%016llx-appointment@example.com", (unsigned long long)random);
    own_mailbox(own, sizeof own, user);
    wbxml_element(w, WBXML_CALENDAR_TIMEZONE, gen_utc);
    wbxml_element(w, WBXML_CALENDAR_ALLDAYEVENT, all_day ? "1" : "0");
    wbxml_element(w, WBXML_CALENDAR_BUSYSTATUS, all_day ? "0" : "2");
    wbxml_element(w, WBXML_CALENDAR_ORGANIZERNAME, user);
    wbxml_element(w, WBXML_CALENDAR_ORGANIZEREMAIL, own);
    gen_time(w, WBXML_CALENDAR_DTSTAMP, g->newest_ms);
    gen_time(w, WBXML_CALENDAR_ENDTIME, all_day ? start + DAY_MS : start + HOUR_MS);
    wbxml_element(w, WBXML_CALENDAR_LOCATION, places[(random >> 8) % COUNT(places)]);
    wbxml_element(w, WBXML_CALENDAR_REMINDER, "15");
    wbxml_element(w, WBXML_CALENDAR_SENSITIVITY, "0");
    wbxml_element(w, WBXML_CALENDAR_SUBJECT, letters[(random >> 16) % COUNT(letters)].subject);
    gen_time(w, WBXML_CALENDAR_STARTTIME, start);
    wbxml_element(w, WBXML_CALENDAR_UID, uid);
    wbxml_element(w, WBXML_CALENDAR_MEETINGSTATUS, "0");
    if (random % 5 == 1) { /* every week, ten times */
        wbxml_open(w, WBXML_CALENDAR_RECURRENCE);
        wbxml_element(w, WBXML_CALENDAR_TYPE, "1");
        wbxml_element(w, WBXML_CALENDAR_OCCURRENCES, "10");
        wbxml_element(w, WBXML_CALENDAR_INTERVAL, "1");
        wbxml_number(w, WBXML_CALENDAR_DAYOFWEEK, 1 << ((day / DAY_MS + 4) % 7));
        wbxml_close(w);
    }
    write_body(w, letters[(random >> 16) % COUNT(letters)].body);
}

void gen_task(const struct gen *g, uint64_t box_seed, uint32_t number, struct wbxml_writer *w)
{
    uint64_t random = hash_of(box_seed ^ 6, number);
    int64_t due = g->newest_ms - g->newest_ms % DAY_MS + (int64_t)(random % 30) * DAY_MS;
    write_body(w, letters[random % COUNT(letters)].body);
    wbxml_element(w, WBXML_TASKS_COMPLETE, "0");
    write_time(w, WBXML_TASKS_DUEDATE, due);
    write_time(w, WBXML_TASKS_UTCDUEDATE, due);
    wbxml_element(w, WBXML_TASKS_IMPORTANCE, "1");
    wbxml_element(w, WBXML_TASKS_REMINDERSET, "0");
    wbxml_element(w, WBXML_TASKS_SENSITIVITY, "0");
    wbxml_element(w, WBXML_TASKS_SUBJECT, tasks[(number - 1) % COUNT(tasks)]);
}

void gen_note(const struct gen *g, uint64_t box_seed, uint32_t number, struct wbxml_writer *w)
{
    uint64_t random = hash_of(box_seed ^ 7, number);
    wbxml_element(w, WBXML_NOTES_SUBJECT, notes[(number - 1) % COUNT(notes)]);
    write_body(w, letters[random % COUNT(letters)].body);
    wbxml_element(w, WBXML_NOTES_MESSAGECLASS, "IPM.StickyNote");
    gen_time(w, WBXML_NOTES_LASTMODIFIEDDATE, g->newest_ms - (int64_t)(random % 90) * DAY_MS);
}
