/* What administrators break on purpose, beside what is in each authority (sta/authority.h): the clock that
 * tickets go by. Thread-safe. */
#ifndef STAGATE_GATE_FAULTS_H
#define STAGATE_GATE_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* The clock is moved by what the configuration says, and by a jump on top of it, which is a fault. */
void faults_set_configured_offset(int64_t offset_ms);
void faults_set_clock(int64_t jump_ms); /* 0: no fault */
/* Whether a moment is past only because of the jump in force. */
bool faults_clock_passed(int64_t at_ms);
int64_t faults_clock_ms(void); /* the jump in force */

#endif
