// SPDX-License-Identifier: Apache-2.0
// A 16550 at its ports, 115200 8N1: polled transmit with a bounded wait, polled or interrupt-driven receive
// and transmit. The caller serialises. Facts: National Semiconductor PC16550D data sheet.
#pragma once

#include "kernel/lib/types.h"

#define UART_COM1_PORT 0x3f8u
#define UART_COM1_IRQ 4u

struct uart {
	uint16_t port;
	bool present;
	uint8_t fifo_bytes; // 16, or 1 for parts without a working FIFO
	bool tx_interrupt;  // the transmitter-empty interrupt is on
	bool rx_interrupt;
	uint64_t overruns; // received bytes the hardware lost
};

// Looks for the chip (scratch register, modem-line loop-back), programs it, interrupts off.
// -ERR_UNSUP: nothing there; the object is then inert: writes take nothing, reads give nothing.
__must_check int uart_init(struct uart *uart, uint16_t port);

// Hands over as many bytes as the transmitter takes now, without waiting; returns how many.
size_t uart_write_now(struct uart *uart, const uint8_t *bytes, size_t count);
// Waits (bounded, about 10 ms of port reads a byte) until the transmitter takes bytes; returns how many went out.
size_t uart_write_wait(struct uart *uart, const uint8_t *bytes, size_t count);
// Waits, bounded, until the last bit has left the shift register; needed before power-off.
void uart_drain(struct uart *uart);
// Takes what was received, without waiting; returns how many.
size_t uart_read(struct uart *uart, uint8_t *bytes, size_t count);
// Turns the receive and the transmitter-empty interrupts on or off.
void uart_interrupts(struct uart *uart, bool receive, bool transmit);
// The end of an interrupt handler, after data was read and written: makes the line fall, and rise again if a
// cause came in the meantime, so that an edge-triggered input never misses one.
void uart_rearm(struct uart *uart);
