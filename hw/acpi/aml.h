/* SPDX-License-Identifier: MIT */
/*
 * A writer of AML.  [ACPI6.3 20]
 *
 * Terms are appended in order; blocks (scopes, devices, methods, packages) are bracketed by
 * aml_begin_*() and aml_end(), which writes the package length:
 *
 *     aml_begin_scope(a, "\\_SB");
 *     aml_begin_device(a, "RTC");
 *     aml_name_eisaid(a, "_HID", "PNP0B00");
 *     aml_end(a);
 *     aml_end(a);
 *
 * Names are given as in ASL ("\\_SB.PCI0", "^LNKA"); segments are padded with '_'.
 * An Aml is a plain value of one thread.
 */
#ifndef HW_ACPI_AML_H
#define HW_ACPI_AML_H

#include "base/bits.h"

typedef struct Aml Aml;

Aml *aml_new(void);
void aml_free(Aml *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Aml, aml_free)
/* All blocks must be closed. */
const uint8_t *aml_bytes(const Aml *a, size_t *len);

/* ---- blocks ---- */
void aml_begin_scope(Aml *a, const char *name);
void aml_begin_device(Aml *a, const char *name);
void aml_begin_method(Aml *a, const char *name, unsigned args, bool serialized);
/* NAME = Package (COUNT) { ... }; elements follow as plain terms. */
void aml_begin_name_package(Aml *a, const char *name, unsigned count);
void aml_begin_package(Aml *a, unsigned count);
void aml_end(Aml *a);

/* ---- named objects ---- */
void aml_name_int(Aml *a, const char *name, uint64_t value);
void aml_name_string(Aml *a, const char *name, const char *text);
void aml_name_eisaid(Aml *a, const char *name, const char *id);   /* "PNP0303" */

typedef enum AmlSpace { AML_SYSTEM_MEMORY, AML_SYSTEM_IO, AML_PCI_CONFIG } AmlSpace;
void aml_operation_region(Aml *a, const char *name, AmlSpace space, uint64_t offset,
                          uint64_t len);
typedef struct AmlField {
    const char *name;         /* NULL: unnamed gap; ends the list when bits is 0 too */
    unsigned bits;
} AmlField;
enum { AML_BYTE_ACC = 1, AML_WORD_ACC = 2, AML_DWORD_ACC = 3 };
void aml_field(Aml *a, const char *region, unsigned access, const AmlField *fields);

/* ---- terms and operators, prefix order as in the byte code ---- */
void aml_int(Aml *a, uint64_t value);
void aml_ref(Aml *a, const char *name);
void aml_arg(Aml *a, unsigned n);
void aml_local(Aml *a, unsigned n);
void aml_op(Aml *a, uint8_t opcode);
enum { AML_STORE = 0x70, AML_AND = 0x7b, AML_OR = 0x7d, AML_RETURN = 0xa4, AML_NULL_TARGET = 0x00 };
/* CreateDWordField (BUFFER, INDEX, NAME) */
void aml_create_dword_field(Aml *a, const char *buffer, uint64_t index, const char *name);
void aml_begin_if(Aml *a);    /* the predicate follows, then the body */

/* ---- resource templates: NAME = ResourceTemplate () {...}  [ACPI6.3 6.4] ---- */
void aml_begin_resources(Aml *a, const char *name);
void aml_end_resources(Aml *a);
void aml_res_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len);
void aml_res_irq(Aml *a, unsigned irq);                       /* edge, active high */
void aml_res_dma(Aml *a, unsigned channel);
void aml_res_fixed_memory(Aml *a, uint32_t base, uint32_t len);
void aml_res_interrupt(Aml *a, const uint32_t *irqs, unsigned count);   /* level, shared */
void aml_res_gsi(Aml *a, uint32_t gsi, bool edge);            /* active high, exclusive */
void aml_res_bus_range(Aml *a, uint16_t min, uint16_t max);
void aml_res_io_range(Aml *a, uint16_t min, uint16_t max);
void aml_res_memory_range(Aml *a, uint32_t min, uint32_t max, bool cacheable);
void aml_res_memory_range64(Aml *a, uint64_t min, uint64_t max);

#endif
