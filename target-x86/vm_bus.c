/* SPDX-License-Identifier: MIT */
/* A CPU's memory and ports in a real VM, by vm/memory.h, and stores to its decoded code. */
#include "target-x86/vm_bus.h"

#include "base/rcu.h"
#include "target-x86/code.h"
#include "vm/cpu.h"

static AddressSpace *space_of(const X86VmBus *bus)
{
    return bus->x86->smm && bus->vm->smm_memory ? bus->vm->smm_memory : &bus->vm->memory;
}

/*
 * A device may have asked for this CPU while it was accessed: the block ends here.  An interrupt that cannot be taken now is
 * looked for by what sets IF.
 */
static void end_block_if_requested(X86VmBus *bus)
{
    uint32_t requests = atomic_load_explicit(&bus->x86->requests, memory_order_relaxed);

    if ((requests & ~(uint32_t)X86_REQ_INTR) || (requests && (bus->x86->eflags & FLAG_IF))) {
        bus->x86->stop = 1;
    }
}

static void bus_map(void *opaque, uint64_t gpa, X86Phys *out)
{
    X86VmBus *bus = opaque;
    MemoryTarget t;

    RCU_READ_SCOPE();
    t = memory_resolve(space_of(bus), gpa);
    *out = (X86Phys){ 0 };
    if (t.host && t.len >= GUEST_PAGE_SIZE) {
        out->host = t.host;
        out->writable = !t.readonly;
        out->more = t.len;
        out->log_writes = t.mr->dirty_clients & (BIT(DIRTY_VGA) | BIT(DIRTY_MIGRATION));
    }
}

static uint64_t bus_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
    X86VmBus *bus = opaque;
    uint64_t value = address_space_load(space_of(bus), gpa, size);

    end_block_if_requested(bus);
    return value;
}

static void bus_mmio_write(void *opaque, uint64_t gpa, uint64_t value, unsigned size)
{
    X86VmBus *bus = opaque;

    address_space_store(space_of(bus), gpa, value, size);
    end_block_if_requested(bus);
}

static uint64_t bus_port_read(void *opaque, uint16_t port, unsigned size)
{
    X86VmBus *bus = opaque;
    uint64_t value = address_space_load(&bus->vm->io, port, size);

    end_block_if_requested(bus);
    return value;
}

static void bus_port_write(void *opaque, uint16_t port, uint64_t value, unsigned size)
{
    X86VmBus *bus = opaque;

    address_space_store(&bus->vm->io, port, value, size);
    end_block_if_requested(bus);
}

static void bus_dirty(void *opaque, uint64_t gpa, unsigned len)
{
    X86VmBus *bus = opaque;
    MemoryTarget t;

    RCU_READ_SCOPE();
    t = memory_resolve(space_of(bus), gpa);
    if (t.mr) {
        memory_mark_dirty(t.mr, t.offset, len);
    }
}

static bool bus_dirty_open(void *opaque, uint64_t gpa)
{
    X86VmBus *bus = opaque;
    MemoryTarget t;

    RCU_READ_SCOPE();
    t = memory_resolve(space_of(bus), gpa);
    return t.mr && memory_open_dirty_page(t.mr, t.offset);
}

static void bus_doze(void *opaque, X86Cpu *cpu, int64_t ns)
{
    cpu_doze(cpu->vm_cpu, ns);
}

static void bus_smm_changed(void *opaque, X86Cpu *cpu)
{
    if (((X86VmBus *)opaque)->vm->smm_memory) {
        x86_cpu_request(cpu, X86_REQ_TLB_FLUSH);
        cpu->stop = 1;
    }
}

static const X86Bus vm_bus_ops = {
    .map = bus_map,
    .mmio_read = bus_mmio_read,
    .mmio_write = bus_mmio_write,
    .port_read = bus_port_read,
    .port_write = bus_port_write,
    .dirty = bus_dirty,
    .dirty_open = bus_dirty_open,
    .smm_changed = bus_smm_changed, .doze = bus_doze,
};

/* ---- changes of the memory map ---- */

static void request_flush(X86VmBus *bus)
{
    x86_cpu_request(bus->x86, X86_REQ_TLB_FLUSH);
    if (bus->x86->vm_cpu && bus->x86->vm_cpu->created) {
        cpu_kick(bus->x86->vm_cpu);
    }
}

static void map_changed(MemoryListener *l)
{
    request_flush(l->opaque);
}

/* ---- pages that are written without a report: vm/memory.h ---- */

static X86VmBus *buses;       /* of all CPUs; machine lock */

static void close_pages(void)
{
    for (X86VmBus *bus = buses; bus; bus = bus->next) {
        request_flush(bus);
    }
}

/* The request goes away before the flush, but no store comes between the two. */
static bool pages_closed(void)
{
    for (const X86VmBus *bus = buses; bus; bus = bus->next) {
        if (atomic_load(&bus->x86->requests) & X86_REQ_TLB_FLUSH) {
            return false;
        }
    }
    return true;
}

static const MemoryOpenOps open_ops = { close_pages, pages_closed };

void x86_vm_bus_init(X86VmBus *bus, Vm *vm, X86Cpu *x86)
{
    bus->ops = vm_bus_ops;
    bus->vm = vm;
    bus->x86 = x86;
    x86->bus = &bus->ops;
    x86->bus_opaque = bus;
    bus->memory_listener = (MemoryListener){ .commit = map_changed, .opaque = bus };
    memory_listener_add(&vm->memory, &bus->memory_listener);
    bus->next = buses;
    buses = bus;
    memory_set_open_ops(&open_ops);
    if (vm->smm_memory) {
        bus->smm_listener = bus->memory_listener;
        memory_listener_add(vm->smm_memory, &bus->smm_listener);
    }
}

void x86_vm_bus_clear(X86VmBus *bus)
{
    for (X86VmBus **p = &buses; *p; p = &(*p)->next) {
        if (*p == bus) {
            *p = bus->next;
            break;
        }
    }
    memory_listener_remove(&bus->vm->memory, &bus->memory_listener);
    if (bus->smm_listener.commit) {
        memory_listener_remove(bus->vm->smm_memory, &bus->smm_listener);
    }
}

/* ---- code written by devices and other CPUs ---- */

/* The hook of vm/memory.h has no argument of ours; there is one VM with TCG code in a process. */
static Vm *code_vm;
static X86CodeMap *code_map;

/* RAM is found at every place where the map shows it: code is known by its physical address. */
static void code_written(RamBlock *ram, uint64_t offset, uint64_t len)
{
    const FlatMap *map;

    RCU_READ_SCOPE();
    map = rcu_get(&code_vm->memory.map);
    for (unsigned i = 0; i < map->count; i++) {
        const FlatRange *r = &map->ranges[i];
        uint64_t r_len = r->last - r->start + 1, from, to;

        if (r->mr->ram != ram || offset + len <= r->offset || offset >= r->offset + r_len) {
            continue;
        }
        from = MAX(offset, r->offset);
        to = MIN(offset + len, r->offset + r_len);
        code_map_written(code_map, r->start + (from - r->offset), to - from);
    }
}

X86CodeMap *x86_vm_code_map(Vm *vm)
{
    if (!code_map) {
        code_map = code_map_new();
        code_vm = vm;
        memory_code_write_hook = code_written;
    }
    return code_map;
}
