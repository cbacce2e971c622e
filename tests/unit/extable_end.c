// SPDX-License-Identifier: Apache-2.0
// Linked last into test_mminsn: the end of its fix-up table.
__asm__(".pushsection .extable,\"a\",@progbits\n\t.globl extable_last\nextable_last:\n\t.popsection");
