/* SPDX-License-Identifier: MIT */
/*
 * SMBIOS 2.8 tables, handed to the firmware by fw_cfg.  [DSP0134]
 * -smbios type=N,field=value overrides are noted by smbios_set() before the machine is built.
 */
#ifndef HW_SMBIOS_SMBIOS_H
#define HW_SMBIOS_SMBIOS_H

#include "hw/fw_cfg/fw_cfg.h"

typedef struct SmbiosConfig {
    const char *product, *version;      /* defaults of type 1 */
    unsigned cpus, sockets;
    uint32_t cpuid_version, cpuid_features;
    uint64_t ram_below_4g, ram_above_4g;     /* bytes */
} SmbiosConfig;

/* false: no field of this type can be set. */
bool smbios_check_type(unsigned type, GError **error);
/* "manufacturer", "product", "version", "serial", "uuid", "sku", "family" of types 0, 1, 2, 3,
 * 4, 17; an error that lists the fields a type has. */
bool smbios_set(unsigned type, const char *field, const char *value, GError **error);
/* The UUID of type 1, in the order in which it is written; zeroes without one. */
void smbios_system_uuid(uint8_t bytes[16]);
bool smbios_publish(const SmbiosConfig *config, Vm *vm, FwCfg *cfg, GError **error);

#endif
