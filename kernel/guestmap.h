// SPDX-License-Identifier: Apache-2.0
// The fixed map of the guest's PC: ports and interrupt lines (GSIs) of the legacy devices, and the local
// APIC and I/O APIC windows. The builder, the device models and the guest's ACPI tables read it here, so
// that they agree; docs/GUEST.md is the same table in words, and arch/x86/guest/dsdt.asl repeats some of it.
#pragma once

#define GUEST_PIT_PORT 0x40u // 8254, four ports
#define GUEST_KBC_DATA_PORT 0x60u
#define GUEST_SPEAKER_PORT 0x61u
#define GUEST_KBC_COMMAND_PORT 0x64u
#define GUEST_RTC_PORT 0x70u // index, data
#define GUEST_FAST_A20_PORT 0x92u
#define GUEST_COM1_PORT 0x3f8u        // 16550A, eight ports
#define GUEST_PCI_ADDRESS_PORT 0xcf8u // configuration mechanism 1
#define GUEST_PCI_DATA_PORT 0xcfcu
#define GUEST_RESET_PORT 0xcf9u // a byte register between those of CONFIG_ADDRESS
#define GUEST_RESET_VALUE 0x06u // full reset (hard), as FADT RESET_VALUE says

// ACPI fixed hardware, one block: PM1a event (4 bytes), PM1a control (2), PM timer (4).
#define GUEST_PM_PORT 0x600u
#define GUEST_PM_BYTES 12u
#define GUEST_PM1A_EVT_PORT (GUEST_PM_PORT + 0u)
#define GUEST_PM1A_CNT_PORT (GUEST_PM_PORT + 4u)
#define GUEST_PM_TMR_PORT (GUEST_PM_PORT + 8u)
#define GUEST_SLP_TYP_S5 5u // what \_S5 tells the guest to write to PM1a control SLP_TYP

// Interrupt lines. GSI n is PIC pin n and I/O APIC pin n, but GSI 0 is I/O APIC pin 2.
#define GUEST_PIT_GSI 0u
#define GUEST_KBC_GSI 1u
#define GUEST_COM1_GSI 4u
#define GUEST_RTC_GSI 8u
#define GUEST_SCI_GSI 9u
#define GUEST_PIT_IOAPIC_PIN 2u

#define GUEST_IOAPIC_GPA 0xfec00000u
#define GUEST_LAPIC_GPA 0xfee00000u

// CMOS index of the century, as FADT CENTURY says.
#define GUEST_CMOS_CENTURY 0x32u
