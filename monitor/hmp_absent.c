/* SPDX-License-Identifier: MIT */
/*
 * HMP commands of QEMU 7.2 that Rhea has not yet: the answer to them says so, rather than that the
 * user misspelt something.  A command that is added leaves this list.
 */
#include "monitor/hmp.h"

#include <stddef.h>

/* clang-format off */
const char *const hmp_absent[] = {
    "announce_self", "balloon", "boot_set", "calc_dirty_rate", "cancel_vcpu_dirty_limit",
    "client_migrate_info", "commit", "delvm", "drive_add", "drive_del", "dump-guest-memory", "dumpdtb",
    "exit_preconfig", "expire_password", "gdbserver", "gpa2hpa", "hostfwd_add",
    "hostfwd_remove", "loadvm", "mce", "migrate", "migrate_cancel", "migrate_continue",
    "migrate_incoming", "migrate_pause", "migrate_recover", "migrate_set_capability",
    "migrate_set_parameter", "migrate_start_postcopy", "mouse_set", "netdev_add",
    "netdev_del", "pcie_aer_inject_error", "qemu-io", "replay_break",
    "replay_delete_break", "replay_seek", "savevm", "set_link", "set_password",
    "set_vcpu_dirty_limit", "singlestep", "stopcapture", "sync-profile", "wavcapture",
    "x_colo_lost_heartbeat",
    "info balloon", "info capture", "info dirty_rate", "info dump",
    "info memory-devices", "info migrate", "info migrate_capabilities",
    "info migrate_parameters", "info network", "info numa", "info opcount",
    "info profile", "info qdm", "info rdma", "info replay", "info rocker",
    "info rocker-of-dpa-flows", "info rocker-of-dpa-groups", "info rocker-ports",
    "info roms", "info sev", "info sgx", "info snapshots", "info spice", "info stats",
    "info sync-profile", "info tpm", "info usb", "info usbhost", "info usernet",
    "info vcpu_dirty_limit", "info virtio", "info virtio-queue-element",
    "info virtio-queue-status", "info virtio-status", "info virtio-vhost-queue-status",
    "info vm-generation-id", "info vnc",
    NULL,
};
/* clang-format on */
