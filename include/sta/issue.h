/* Making ticket values. */
#ifndef STAGATE_STA_ISSUE_H
#define STAGATE_STA_ISSUE_H

#include <stdint.h>

#include "proto/ticket.h"
#include "sta/record.h"

/* Draws a new ticket value: 32 upper-case hex digits, 128 bits of the system's random source (getrandom),
 * fills value and hash. 0, or negative when there is no randomness. The value is secret: mem_wipe it after
 * use. */
int issue_ticket_value(char value[TICKET_VALUE_MAX + 1], uint8_t hash[RECORD_HASH]);

#endif
