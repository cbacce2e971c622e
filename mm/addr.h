// SPDX-License-Identifier: Apache-2.0
// Typed addresses. One-field structs so that a guest address can never be used as a host one;
// arithmetic happens only in these helpers. A host pointer is a void * and comes only from mm/.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/types.h"

#define PAGE_SHIFT 12u
#define PAGE_BYTES (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_2M_BYTES (UINT64_C(1) << 21)
#define PAGE_1G_BYTES (UINT64_C(1) << 30)

// clang-format off
typedef struct { uint64_t v; } hpa_t; // host physical, bytes
typedef struct { uint64_t v; } gpa_t; // guest physical, bytes
typedef struct { uint64_t v; } pfn_t; // host page frame number
typedef struct { uint64_t v; } gfn_t; // guest page frame number
// clang-format on

static inline hpa_t hpa(uint64_t v) { return (hpa_t){v}; }
static inline gpa_t gpa(uint64_t v) { return (gpa_t){v}; }
static inline hpa_t hpa_add(hpa_t a, uint64_t bytes) { return (hpa_t){a.v + bytes}; }
static inline gpa_t gpa_add(gpa_t a, uint64_t bytes) { return (gpa_t){a.v + bytes}; }
static inline pfn_t hpa_pfn(hpa_t a) { return (pfn_t){a.v >> PAGE_SHIFT}; }
static inline hpa_t pfn_hpa(pfn_t f) { return (hpa_t){f.v << PAGE_SHIFT}; }
static inline gfn_t gpa_gfn(gpa_t a) { return (gfn_t){a.v >> PAGE_SHIFT}; }
static inline gpa_t gfn_gpa(gfn_t f) { return (gpa_t){f.v << PAGE_SHIFT}; }
static inline uint64_t page_offset(uint64_t v) { return v & (PAGE_BYTES - 1); }
static inline uint64_t bytes_pages(uint64_t bytes) { return (bytes + PAGE_BYTES - 1) >> PAGE_SHIFT; }
