/* SPDX-License-Identifier: MIT */
/*
 * Which physical pages hold code that an engine has decoded or translated, in 64-byte granules.
 * One X86CodeMap per VM; every vCPU points to it.  Stores to such a page take the memory slow
 * path (poisoned tag_w), which calls code_map_written(); DMA calls it too.
 *
 * Thread rule: any thread; the map has its own lock and takes no other while holding it, except
 * that `retire` hooks run under it and must only mark blocks dead (atomically) and set
 * cpu->stop / requests.
 */
#ifndef TARGET_X86_CODE_H
#define TARGET_X86_CODE_H

#include "target-x86/cpu.h"

typedef void CodeRetire(void *opaque, uint64_t gpa, unsigned len);

X86CodeMap *code_map_new(void);
void code_map_free(X86CodeMap *map);
/* Each vCPU that may cache translations of code pages: its TLB gets poisoned by code_map_add(). */
void code_map_attach_cpu(X86CodeMap *map, X86Cpu *cpu);
void code_map_detach_cpu(X86CodeMap *map, X86Cpu *cpu);
/* An engine's block cache. Called with every written range that overlaps a granule with code. */
void code_map_attach_engine(X86CodeMap *map, CodeRetire *retire, void *opaque);
void code_map_detach_engine(X86CodeMap *map, void *opaque);

/*
 * SETTLE is called, with no lock held, by code_map_add() for a page that was not marked before: it waits until stores
 * are over that other CPUs have begun by a tag that was still open.
 */
void code_map_set_settle(X86CodeMap *map, void (*settle)(void *opaque), void *opaque);

/* Before the bytes that have been decoded are compared once more: [gpa, gpa + len) lies within one page. */
void code_map_add(X86CodeMap *map, uint64_t gpa, unsigned len);
/* Does this page hold code? Cheap; used by the TLB refill. */
bool code_map_has(const X86CodeMap *map, uint64_t gpa);
/* Before or after [gpa, gpa + len) is overwritten; any length. */
void code_map_written(X86CodeMap *map, uint64_t gpa, uint64_t len);

#endif
