/* What mailsim does wrong on request: rules that are looked at when an answer is sent. */
#ifndef STAGATE_MAILSIM_FAULTS_H
#define STAGATE_MAILSIM_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum fault_action {
    FAULT_STATUS,    /* another HTTP status, with what belongs to it */
    FAULT_DELAY,     /* later */
    FAULT_THROTTLE,  /* 503 with X-MS-ASThrottle and Retry-After */
    FAULT_TRUNCATE,  /* the document ends in its middle, properly framed */
    FAULT_MALFORMED, /* a byte of the document is none of WBXML's */
    FAULT_CHUNKED,   /* in chunks instead of with a length */
    FAULT_CLOSE,     /* the connection ends in the middle of the body */
    FAULT_RESET,     /* the connection ends without an answer */
};

struct fault {
    char command[24]; /* "*": any request; "OPTIONS"; else as in Cmd */
    char user[64];    /* "": anybody */
    enum fault_action action;
    unsigned status;
    uint64_t delay_ms;
    unsigned retry_after_s;
    char text[200];   /* 451: X-MS-Location; throttle: its reason */
    unsigned percent; /* of the requests */
    int64_t left;     /* how often still; -1: without end */
};

struct faults;

struct faults *faults_new(uint64_t seed);
void faults_free(struct faults *f);
/* "Ping:503,retry-after=30,count=2", "*:delay=2s,percent=10",
 * "Sync:451=https://other.example.com/Microsoft-Server- ActiveSync": adds a rule. ERR_SYNTAX with *why. */
int faults_add(struct faults *f, const char *text, const char **why);
void faults_clear(struct faults *f);
enum fault_moment {
    FAULT_HOLDS,   /* the answer is held back: DELAY */
    FAULT_REFUSES, /* in place of a wait that begins: STATUS, THROTTLE, RESET */
    FAULT_SPOILS,  /* the answer goes out: all but DELAY */
};
/* The first rule of that moment for this request that comes up now, counted; NULL: none. Borrowed until the
 * next call. */
const struct fault *faults_pick(struct faults *f, enum fault_moment moment, const char *command,
                                const char *user);
const char *fault_name(enum fault_action action);
/* As faults_add takes it. */
size_t faults_count(const struct faults *f);
void faults_describe(const struct faults *f, size_t i, char *dst, size_t cap);

#endif
