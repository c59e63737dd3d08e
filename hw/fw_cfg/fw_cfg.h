/* SPDX-License-Identifier: MIT */
/*
 * fw_cfg: how the machine tells its firmware things.  Numbered items and named files, read by
 * port or DMA.  (QEMU's specification "fw_cfg".)
 *
 * Thread rule: machine lock.  Items are added while the machine is built, before the first reset.
 * Ownership: the device copies or takes what it is given, as each call says.
 */
#ifndef HW_FW_CFG_FW_CFG_H
#define HW_FW_CFG_FW_CFG_H

#include "vm/device.h"

typedef struct FwCfg FwCfg;

/* Item numbers. */
enum {
    FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_UUID = 0x02, FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04, FW_CFG_NB_CPUS = 0x05, FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a, FW_CFG_INITRD_SIZE = 0x0b, FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d, FW_CFG_BOOT_MENU = 0x0e, FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10, FW_CFG_KERNEL_DATA = 0x11, FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13, FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16, FW_CFG_SETUP_SIZE = 0x17, FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ACPI_TABLES = 0x8000, FW_CFG_SMBIOS_ENTRIES = 0x8001, FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003, FW_CFG_HPET = 0x8004,
};

#define FW_CFG_FILE_NAME_MAX 55   /* without the NUL */

/* At port 0x510; its DMA reaches vm->memory. */
FwCfg *fw_cfg_create(Vm *vm, GError **error);

/* DATA is copied.  A later call replaces the item. */
void fw_cfg_set_bytes(FwCfg *cfg, uint16_t key, const void *data, size_t len);
/* The same without a copy: takes BLOCK (g_malloc'ed), in which the data begin at FROM. */
void fw_cfg_take_bytes(FwCfg *cfg, uint16_t key, void *block, size_t from, size_t len);
void fw_cfg_set_string(FwCfg *cfg, uint16_t key, const char *text);   /* with the NUL */
void fw_cfg_set_u16(FwCfg *cfg, uint16_t key, uint16_t value);
void fw_cfg_set_u32(FwCfg *cfg, uint16_t key, uint32_t value);
void fw_cfg_set_u64(FwCfg *cfg, uint16_t key, uint64_t value);

/* Takes DATA (g_malloc'ed).  false with an error: name too long, or no slot left. */
bool fw_cfg_add_file(FwCfg *cfg, const char *name, void *data, size_t len, GError **error);
/* Replaces the content of a file, or adds it. */
bool fw_cfg_set_file(FwCfg *cfg, const char *name, void *data, size_t len, GError **error);
/* The guest may write it; CHANGED is called after each write that reached its end. */
bool fw_cfg_add_writable_file(FwCfg *cfg, const char *name, size_t len,
                              void (*changed)(void *opaque, const uint8_t *data, size_t len),
                              void *opaque, GError **error);
/* NULL when there is no such file. */
const uint8_t *fw_cfg_find_file(FwCfg *cfg, const char *name, size_t *len);

#endif
