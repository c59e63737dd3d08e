/* SPDX-License-Identifier: MIT */
/* PCI configuration space: offsets, bits, class codes and identifiers.  [PCI3.0 6.1, 6.2, D] */
#ifndef HW_PCI_PCI_REGS_H
#define HW_PCI_PCI_REGS_H

/* clang-format off */
/* Header registers */
#define PCI_VENDOR_ID                    0x00
#define PCI_DEVICE_ID                    0x02
#define PCI_COMMAND                      0x04
#define PCI_STATUS                       0x06
#define PCI_REVISION_ID                  0x08
#define PCI_CLASS_PROG                   0x09
#define PCI_CLASS_DEVICE                 0x0a
#define PCI_CACHE_LINE_SIZE              0x0c
#define PCI_LATENCY_TIMER                0x0d
#define PCI_HEADER_TYPE                  0x0e
#define PCI_BIST                         0x0f
#define PCI_BASE_ADDRESS_0               0x10
#define PCI_PRIMARY_BUS                  0x18
#define PCI_SECONDARY_BUS                0x19
#define PCI_SUBORDINATE_BUS              0x1a
#define PCI_SEC_LATENCY_TIMER            0x1b
#define PCI_IO_BASE                      0x1c
#define PCI_IO_LIMIT                     0x1d
#define PCI_SEC_STATUS                   0x1e
#define PCI_MEMORY_BASE                  0x20
#define PCI_MEMORY_LIMIT                 0x22
#define PCI_PREF_MEMORY_BASE             0x24
#define PCI_PREF_MEMORY_LIMIT            0x26
#define PCI_PREF_BASE_UPPER32            0x28
#define PCI_PREF_LIMIT_UPPER32           0x2c
#define PCI_IO_BASE_UPPER16              0x30
#define PCI_IO_LIMIT_UPPER16             0x32
#define PCI_SUBSYSTEM_VENDOR_ID          0x2c
#define PCI_SUBSYSTEM_ID                 0x2e
#define PCI_ROM_ADDRESS                  0x30
#define PCI_CAPABILITY_LIST              0x34
#define PCI_ROM_ADDRESS1                 0x38
#define PCI_INTERRUPT_LINE               0x3c
#define PCI_INTERRUPT_PIN                0x3d
#define PCI_MIN_GNT                      0x3e
#define PCI_MAX_LAT                      0x3f
#define PCI_BRIDGE_CONTROL               0x3e

/* Bits, capabilities */
#define PCI_COMMAND_IO                   0x1
#define PCI_COMMAND_MEMORY               0x2
#define PCI_COMMAND_MASTER               0x4
#define PCI_COMMAND_SPECIAL              0x8
#define PCI_COMMAND_INVALIDATE           0x10
#define PCI_COMMAND_VGA_PALETTE          0x20
#define PCI_COMMAND_PARITY               0x40
#define PCI_COMMAND_SERR                 0x100
#define PCI_COMMAND_FAST_BACK            0x200
#define PCI_COMMAND_INTX_DISABLE         0x400
#define PCI_STATUS_INTERRUPT             0x8
#define PCI_STATUS_CAP_LIST              0x10
#define PCI_STATUS_66MHZ                 0x20
#define PCI_STATUS_FAST_BACK             0x80
#define PCI_STATUS_DEVSEL_MEDIUM         0x200
#define PCI_STATUS_SIG_TARGET_ABORT      0x800
#define PCI_STATUS_REC_TARGET_ABORT      0x1000
#define PCI_STATUS_REC_MASTER_ABORT      0x2000
#define PCI_STATUS_SIG_SYSTEM_ERROR      0x4000
#define PCI_STATUS_DETECTED_PARITY       0x8000
#define PCI_HEADER_TYPE_NORMAL           0
#define PCI_HEADER_TYPE_BRIDGE           1
#define PCI_HEADER_TYPE_MULTIFUNCTION    0x80
#define PCI_BASE_ADDRESS_SPACE_IO        0x1
#define PCI_BASE_ADDRESS_SPACE_MEMORY    0x0
#define PCI_BASE_ADDRESS_MEM_TYPE_64     0x4
#define PCI_BASE_ADDRESS_MEM_PREFETCH    0x8
#define PCI_ROM_ADDRESS_ENABLE           0x1
#define PCI_CAP_ID_PM                    0x01
#define PCI_CAP_ID_MSI                   0x05
#define PCI_CAP_ID_VNDR                  0x09
#define PCI_CAP_ID_SSVID                 0x0d
#define PCI_CAP_ID_EXP                   0x10
#define PCI_CAP_ID_MSIX                  0x11
#define PCI_CAP_ID_AF                    0x13
#define PCI_MSI_FLAGS                    2
#define PCI_MSI_FLAGS_ENABLE             0x1
#define PCI_MSI_FLAGS_QMASK              0xe
#define PCI_MSI_FLAGS_QSIZE              0x70
#define PCI_MSI_FLAGS_64BIT              0x80
#define PCI_MSI_FLAGS_MASKBIT            0x100
#define PCI_MSIX_FLAGS                   2
#define PCI_MSIX_FLAGS_QSIZE             0x7ff
#define PCI_MSIX_FLAGS_MASKALL           0x4000
#define PCI_MSIX_FLAGS_ENABLE            0x8000
#define PCI_MSIX_TABLE                   4
#define PCI_MSIX_PBA                     8
#define PCI_MSIX_ENTRY_SIZE              16
#define PCI_MSIX_ENTRY_CTRL_MASKBIT      0x1

/* Class codes and identifiers */
#define PCI_CLASS_STORAGE_SCSI           0x0100
#define PCI_CLASS_STORAGE_IDE            0x0101
#define PCI_CLASS_STORAGE_SATA           0x0106
#define PCI_CLASS_STORAGE_EXPRESS        0x0108
#define PCI_CLASS_NETWORK_ETHERNET       0x0200
#define PCI_CLASS_DISPLAY_VGA            0x0300
#define PCI_CLASS_DISPLAY_OTHER          0x0380
#define PCI_CLASS_MULTIMEDIA_AUDIO       0x0401
#define PCI_CLASS_MULTIMEDIA_HDA         0x0403
#define PCI_CLASS_MEMORY_RAM             0x0500
#define PCI_CLASS_BRIDGE_HOST            0x0600
#define PCI_CLASS_BRIDGE_ISA             0x0601
#define PCI_CLASS_BRIDGE_PCI             0x0604
#define PCI_CLASS_BRIDGE_OTHER           0x0680
#define PCI_CLASS_COMMUNICATION_SERIAL   0x0700
#define PCI_CLASS_COMMUNICATION_OTHER    0x0780
#define PCI_CLASS_SYSTEM_OTHER           0x0880
#define PCI_CLASS_SERIAL_USB             0x0c03
#define PCI_CLASS_SERIAL_SMBUS           0x0c05
#define PCI_CLASS_OTHERS                 0x00ff
#define PCI_VENDOR_INTEL                 0x8086
#define PCI_VENDOR_REDHAT                0x1b36
#define PCI_VENDOR_REDHAT_QUMRANET       0x1af4
#define PCI_VENDOR_QEMU                  0x1234
#define PCI_SUBDEVICE_QEMU               0x1100

/* clang-format on */

#endif
