/* SPDX-License-Identifier: MIT */
/*
 * Namespaces: the one of the controller's own drive= property, and those of "nvme-ns" devices.
 * Spec: [NVMe1.4 6.1]; properties are QEMU 7.2's.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "hw/nvme/nvme_int.h"

/* ---- the backend's hooks ---- */

static void resized(void *opaque)
{
    NvmeNs *ns = opaque;

    nvme_ns_changed(ns->ctrl, ns->nsid);
}

static const BlkDeviceOps ns_ops = { .resized = resized };

/* ---- a place at the controller ---- */

bool nvme_ns_attach(Nvme *n, NvmeNs *ns, Device *dev, GError **error)
{
    const char *type = dev->obj.type->name;

    if (ns->nsid > NVME_MAX_NS) {
        return error_set(error, "%s: nsid=%u must be between 1 and %u, or 0 for the first free one", type,
                         ns->nsid, NVME_MAX_NS);
    }
    for (uint32_t i = 1; i <= NVME_MAX_NS && !ns->nsid; i++) {
        ns->nsid = n->ns[i] ? 0 : i;
    }
    if (!ns->nsid || n->ns[ns->nsid]) {
        return error_set(error, "%s: namespace %u of controller '%s' is taken", type, ns->nsid,
                         n->bus.obj.name);
    }
    ns->conf.rerror = ns->conf.werror = BLK_ON_ERROR_AUTO;
    if (!block_conf_attach(&ns->conf, dev, false, false, &ns_ops, ns, error)) {
        return false;
    }
    ns->dev = dev;
    ns->ctrl = n;
    ns->lba_shift = (uint8_t)(g_bit_storage(ns->conf.logical_block_size) - 1);
    n->ns[ns->nsid] = ns;
    return true;
}

void nvme_ns_detach(NvmeNs *ns)
{
    Nvme *n = ns->ctrl;

    n->ns[ns->nsid] = NULL;
    for (unsigned left = n->retries.length; left; left--) {
        NvmeReq *req = g_queue_pop_head(&n->retries);

        if (req->ns == ns) {
            req->waits = false;
            nvme_complete(req, SC_INTERNAL);
        } else {
            g_queue_push_tail(&n->retries, req);
        }
    }
    block_conf_detach(&ns->conf);     /* drains: what is in flight ends here */
    ns->ctrl = NULL;
}

/* ---- the bus and its devices ---- */

typedef struct NvmeNsDevice {
    Device dev;
    NvmeNs ns;
    bool eui64_default;
} NvmeNsDevice;

/* "namespace@1,525400...": the NSID and the EUI-64. */
static char *ns_fw_path(Device *dev)
{
    const NvmeNs *ns = &DEVICE_CAST(NvmeNsDevice, dev)->ns;

    return g_strdup_printf("namespace@%x,%" PRIx64, ns->nsid, ns->eui64);
}

const BusType bus_nvme = {
    .name = "nvme-bus",
    .device_type = "device",
    .fw_path = ns_fw_path,
};

static bool nvme_ns_realize(Device *dev, GError **error)
{
    NvmeNsDevice *s = DEVICE_CAST(NvmeNsDevice, dev);
    Nvme *n = container_of(dev->bus, Nvme, bus);

    if (!s->ns.mssrl || !s->ns.mcl) {
        return error_set(error, "nvme-ns: mssrl=%u and mcl=%u are blocks that a copy may have: at least 1",
                         s->ns.mssrl, s->ns.mcl);
    }
    if (!nvme_ns_attach(n, &s->ns, dev, error)) {
        return false;
    }
    if (!s->ns.eui64 && s->eui64_default) {
        s->ns.eui64 = 0x5254000000000000 + s->ns.nsid;
    }
    if (dev->hotplugged && !s->ns.detached) {
        nvme_ns_changed(n, s->ns.nsid);
    }
    return true;
}

static void nvme_ns_unrealize(Device *dev)
{
    NvmeNs *ns = &DEVICE_CAST(NvmeNsDevice, dev)->ns;
    Nvme *n = ns->ctrl;

    nvme_ns_detach(ns);
    nvme_ns_changed(n, ns->nsid);
}

/* clang-format off */
static const PropDef nvme_ns_props[] = {
    NVME_NS_PROPS(NvmeNsDevice, ns),
    PROP_U32("nsid", NvmeNsDevice, ns.nsid, 0),
    PROP_ROW("uuid", &prop_uuid, NvmeNsDevice, ns.uuid,
             .help = "UUID (aka GUID) or \"auto\" for random value (default)"),
    PROP_U64("eui64", NvmeNsDevice, ns.eui64, 0),
    PROP_BOOL("eui64-default", NvmeNsDevice, eui64_default, false),
    PROP_BOOL("detached", NvmeNsDevice, ns.detached, false),
    PROP_U16("mssrl", NvmeNsDevice, ns.mssrl, NVME_COPY_BLOCKS),
    PROP_U32("mcl", NvmeNsDevice, ns.mcl, NVME_COPY_BLOCKS),
    PROP_U8("msrc", NvmeNsDevice, ns.msrc, NVME_COPY_RANGES - 1),
    PROP_END
};
/* clang-format on */

DEVICE_TYPE(nvme_ns, .name = "nvme-ns", .size = sizeof(NvmeNsDevice), .desc = "Virtual NVMe namespace",
            .bus = &bus_nvme, .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true,
            .props = nvme_ns_props, .realize = nvme_ns_realize, .unrealize = nvme_ns_unrealize);
