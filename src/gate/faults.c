/* The clock's two movers. Called by the admin API and by whoever puts a configuration in force. */
#include "gate/faults.h"

#include <stdatomic.h>

#include "base/clock.h"

static _Atomic int64_t configured_ms, jump_in_force_ms;

static void apply(void)
{
    clock_set_offset_ms(atomic_load(&configured_ms) + atomic_load(&jump_in_force_ms));
}

void faults_set_configured_offset(int64_t offset_ms)
{
    atomic_store(&configured_ms, offset_ms);
    apply();
}

void faults_set_clock(int64_t jump_ms)
{
    atomic_store(&jump_in_force_ms, jump_ms);
    apply();
}

int64_t faults_clock_ms(void)
{
    return atomic_load(&jump_in_force_ms);
}

bool faults_clock_passed(int64_t at_ms)
{
    int64_t jump = atomic_load(&jump_in_force_ms), now = clock_wall_ms();
    return jump > 0 && now >= at_ms && now - jump < at_ms;
}
