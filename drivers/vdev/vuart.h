// SPDX-License-Identifier: Apache-2.0
// The saved record of the 16550A UART (drivers/vdev/vuart.c).
#pragma once

#include "kernel/lib/types.h"

#define VUART_STATE_VERSION 1u
#define VUART_FIFO_BYTES 16u

struct vuart_state {
	uint64_t timeout_ns; // until the character timeout, TIMER_NEVER when none runs
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t lsr_errors;      // OE..BI as LSR shows them
	uint8_t thre_pending;    // the transmitter interrupt waits in IIR
	uint8_t timeout_pending; // the character timeout interrupt waits in IIR
	uint8_t rx_count;        // bytes in rx[], oldest first
	uint8_t rx[VUART_FIFO_BYTES];
	uint8_t reserved[4]; // zero
};
