// SPDX-License-Identifier: Apache-2.0
// Freeing what other CPUs may still read. A CPU holds no pointer to anything published by a swap at the top of its
// run loop; so what was swapped out before every CPU came by there is nobody's any more, and may be freed. Waiting is
// a deferred callback: quiesce_defer kicks the CPUs, each passes once on its way through the run loop, the last one
// runs what waited. Entering and leaving a guest costs nothing for it.
#pragma once

#include "kernel/lib/types.h"

// Part of the object that is to be freed; the callback finds that by container_of.
struct quiesce_item {
	struct quiesce_item *next;
	void (*run)(struct quiesce_item *item);
};

// The item's callback runs once every CPU that is online now has passed a quiescent point since; on the CPU that
// passed last, from its run loop, no lock held, interrupts off. The item belongs to this file until then. To be called
// after the swap that made the object unreachable.
void quiesce_defer(struct quiesce_item *item, void (*run)(struct quiesce_item *item));
// True when somebody waits for this CPU to pass.
bool quiesce_wanted(void);
// This CPU holds no published pointer now. From the run loop, when quiesce_wanted.
void quiesce_pass(void);
