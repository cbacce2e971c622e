// SPDX-License-Identifier: Apache-2.0
// The 16550 at its ports. Every wait is a bounded number of port reads; an ISA port read takes about a
// microsecond on real machines and less in an emulator, where the transmitter is faster too.
#include "drivers/host/uart.h"

#include "arch/x86/cpu/insn.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

// Registers, as offsets from the base port (PC16550D, table II).
enum uart_reg {
	UART_DATA = 0, // RBR / THR; divisor low with DLAB
	UART_IER = 1,  // divisor high with DLAB
	UART_IIR = 2,  // read
	UART_FCR = 2,  // write
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
};

#define IER_RECEIVE 0x01u
#define IER_TRANSMIT 0x02u
#define IIR_FIFOS 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR 0x06u     // both FIFOs
#define FCR_TRIGGER_8 0x80u // receive interrupt at 8 bytes, or by its time-out
#define LCR_8N1 0x03u
#define LCR_DLAB 0x80u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT2 0x08u // gates the interrupt line on a PC
#define MCR_LOOP 0x10u
#define MSR_LINES 0xf0u
#define MSR_LOOPED 0x90u // OUT2 and RTS come back as DCD and CTS
#define LSR_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u

#define DIVISOR_115200 1u
#define FIFO_BYTES 16u
// One byte takes 87 us at 115200; this is two orders above, also for an emulator that models the time.
#define WAIT_READS 20000u

static uint8_t reg_read(const struct uart *u, enum uart_reg reg) { return in8((uint16_t)(u->port + reg)); }
static void reg_write(const struct uart *u, enum uart_reg reg, uint8_t value) {
	out8((uint16_t)(u->port + reg), value);
}

// An empty bus reads all ones and holds nothing. Either sign of life is enough: some remote-management
// UARTs have no loop-back, some clones no scratch register.
static bool uart_probe(const struct uart *u) {
	if (reg_read(u, UART_LSR) == 0xff) return false;
	reg_write(u, UART_SCR, 0x55);
	bool scratch = reg_read(u, UART_SCR) == 0x55;
	reg_write(u, UART_SCR, 0xaa);
	scratch = scratch && reg_read(u, UART_SCR) == 0xaa;
	reg_write(u, UART_MCR, MCR_LOOP | MCR_OUT2 | MCR_RTS);
	const bool looped = (reg_read(u, UART_MSR) & MSR_LINES) == MSR_LOOPED;
	reg_write(u, UART_MCR, MCR_DTR | MCR_RTS);
	return scratch || looped;
}

int uart_init(struct uart *uart, uint16_t port) {
	*uart = (struct uart){.port = port};
	if (!uart_probe(uart)) return -ERR_UNSUP;
	reg_write(uart, UART_IER, 0);
	reg_write(uart, UART_LCR, LCR_DLAB | LCR_8N1);
	reg_write(uart, UART_DATA, DIVISOR_115200);
	reg_write(uart, UART_IER, 0);
	reg_write(uart, UART_LCR, LCR_8N1);
	// Firmware may still be sending: clearing the FIFO would cut its last line.
	uart->present = true;
	uart_drain(uart);
	reg_write(uart, UART_FCR, FCR_ENABLE | FCR_CLEAR | FCR_TRIGGER_8);
	uart->fifo_bytes = (reg_read(uart, UART_IIR) & IIR_FIFOS) == IIR_FIFOS ? FIFO_BYTES : 1;
	reg_write(uart, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	return 0;
}

size_t uart_write_now(struct uart *uart, const uint8_t *bytes, size_t count) {
	if (!uart->present || count == 0 || !(reg_read(uart, UART_LSR) & LSR_THRE)) return 0;
	// THRE with FIFOs on means that the whole transmit FIFO is empty (PC16550D, 8.4.2).
	const size_t now = (size_t)min_u64(count, uart->fifo_bytes);
	for (size_t i = 0; i < now; i++) reg_write(uart, UART_DATA, bytes[i]);
	return now;
}

static bool uart_wait(const struct uart *u, uint8_t lsr_bits) {
	for (unsigned i = 0; i < WAIT_READS; i++) {
		if ((reg_read(u, UART_LSR) & lsr_bits) == lsr_bits) return true;
		cpu_pause();
	}
	return false;
}

size_t uart_write_wait(struct uart *uart, const uint8_t *bytes, size_t count) {
	size_t done = 0;
	while (uart->present && done < count) {
		if (!uart_wait(uart, LSR_THRE)) break;
		done += uart_write_now(uart, bytes + done, count - done);
	}
	return done;
}

void uart_drain(struct uart *uart) {
	if (uart->present) (void)uart_wait(uart, LSR_THRE | LSR_TEMT);
}

size_t uart_read(struct uart *uart, uint8_t *bytes, size_t count) {
	if (!uart->present) return 0;
	for (size_t i = 0; i < count; i++) {
		const uint8_t lsr = reg_read(uart, UART_LSR);
		if (lsr == 0xff) return i; // the device went away
		if (lsr & LSR_OVERRUN) uart->overruns++;
		if (!(lsr & LSR_READY)) return i;
		bytes[i] = reg_read(uart, UART_DATA);
	}
	return count;
}

static void write_enables(const struct uart *u) {
	reg_write(u, UART_IER,
	          (uint8_t)((u->rx_interrupt ? IER_RECEIVE : 0) | (u->tx_interrupt ? IER_TRANSMIT : 0)));
}

void uart_interrupts(struct uart *uart, bool receive, bool transmit) {
	if (!uart->present || (uart->rx_interrupt == receive && uart->tx_interrupt == transmit)) return;
	uart->rx_interrupt = receive;
	uart->tx_interrupt = transmit;
	write_enables(uart);
}

void uart_rearm(struct uart *uart) {
	if (!uart->present) return;
	(void)reg_read(uart, UART_IIR); // clears the transmitter-empty cause
	(void)reg_read(uart, UART_MSR);
	reg_write(uart, UART_IER, 0);
	write_enables(uart);
}
