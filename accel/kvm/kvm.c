/* SPDX-License-Identifier: MIT */
/*
 * The "kvm" accelerator: guest code by the host CPU, through /dev/kvm.
 * Spec: Documentation/virt/kvm/api.rst of Linux.  See docs/devel/kvm.md.
 * Missing: guest debugging, nested virtualization.
 * Locking: vm/accel.h; kvm_int.h says who has the registers.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#include "accel/kvm/kvm_int.h"
#include "base/error.h"
#include "base/json.h"
#include "target-x86/interp.h"

#define KVM_DEVICE "/dev/kvm"
#define KVM_API 12
/* Four pages below the firmware that Intel's KVM needs for real mode; SeaBIOS reserves them. */
#define KVM_IDENTITY_MAP 0xfeffc000ull
#define KVM_TSS 0xfeffd000ull
#define SIG_IPI SIGUSR1

/* ---- the device ---- */

static bool device_error(int err, GError **error)
{
    struct stat st;
    struct group *g;

    switch (err) {
    case ENOENT:
    case ENXIO:
        return error_set(error, "%s does not exist: load the module kvm_intel or kvm_amd, "
                         "and allow virtualization in the firmware; or use -accel tcg",
                         KVM_DEVICE);
    case EACCES:
    case EPERM:
        g = stat(KVM_DEVICE, &st) == 0 ? getgrgid(st.st_gid) : NULL;
        return error_set(error, "No permission to use %s: join the group '%s' "
                         "(adduser USER %s, then log in again); or use -accel tcg", KVM_DEVICE,
                         g ? g->gr_name : "kvm", g ? g->gr_name : "kvm");
    default:
        return error_set_errno(error, err, "Cannot open %s", KVM_DEVICE);
    }
}

static const struct { int cap; const char *name; } needed[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
    { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
    { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
    { KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS" },
    { KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS" },
};

/* The descriptor, or -1. */
static int device_open(GError **error)
{
    int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC), version;

    if (fd < 0) {
        device_error(errno, error);
        return -1;
    }
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API) {
        error_set(error, "%s speaks version %d of its interface; version %d is needed (Linux "
                  "2.6.22 or later)", KVM_DEVICE, version, KVM_API);
        close(fd);
        return -1;
    }
    for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
        if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
            error_set(error, "%s lacks %s: a newer kernel is needed; or use -accel tcg",
                      KVM_DEVICE, needed[i].name);
            close(fd);
            return -1;
        }
    }
    return fd;
}

static bool kvm_probe(GError **error)
{
    int fd = device_open(error);

    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

/* ---- the VM ---- */

static void enable_cap(KvmAccel *kvm, int cap, uint64_t arg)
{
    struct kvm_enable_cap enable = { .cap = cap, .args = { arg } };

    ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &enable);
}

static bool create_vm(KvmAccel *kvm, GError **error)
{
    uint64_t identity = KVM_IDENTITY_MAP;

    do {
        kvm->vm_fd = ioctl(kvm->fd, KVM_CREATE_VM, 0);
    } while (kvm->vm_fd < 0 && errno == EINTR);
    if (kvm->vm_fd < 0) {
        return error_set_errno(error, errno, "%s cannot create a virtual machine", KVM_DEVICE);
    }
    if (ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
        ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0) {
        return error_set_errno(error, errno, "%s refuses the identity map page", KVM_DEVICE);
    }
    if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS) < 0) {
        return error_set_errno(error, errno, "%s refuses the TSS pages", KVM_DEVICE);
    }
    /* Without it, what KVM cannot emulate in user mode becomes #UD. */
    if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0) {
        enable_cap(kvm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    }
    if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_USER_SPACE_MSR) > 0) {
        enable_cap(kvm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN);
    }
    return true;
}

/* The guest's TSC stands still with the VM, as its clocks do. */
static void follow_run_state(void *opaque, bool running, RunState state)
{
    KvmAccel *kvm = opaque;
    GPtrArray *cpus = kvm->accel.vm->cpus;

    for (unsigned i = 0; running && kvm->stopped_tsc && i < cpus->len; i++) {
        x86_cpu_device(cpus->pdata[i])->x86->tsc_offset -= __rdtsc() - kvm->stopped_tsc;
    }
    kvm->stopped_tsc = running ? 0 : __rdtsc();
}

static bool kvm_init_vm(Accel *accel, Vm *vm, GError **error)
{
    KvmAccel *kvm = (KvmAccel *)accel;
    int slots;

    kvm->fd = device_open(error);
    if (kvm->fd < 0 || !create_vm(kvm, error) || !kvm_irqchip_create(kvm, error) ||
        !kvm_cpuid_load(kvm, error)) {
        return false;
    }
    kvm->run_size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    slots = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    kvm->slot_max = slots > 0 ? slots : 32;
    kvm_memory_init(kvm, vm);
    kvm_eventfd_init(kvm, vm);
    vm_add_state_hook(vm, follow_run_state, kvm);
    return true;
}

static void kvm_init(Object *obj)
{
    KvmAccel *kvm = (KvmAccel *)(void *)obj;

    kvm->fd = kvm->vm_fd = -1;
    kvm->irqchip_wanted = -1;
}

static void kvm_finalize(Object *obj)
{
    KvmAccel *kvm = (KvmAccel *)(void *)obj;

    if (kvm->slots) {
        vm_del_state_hook(kvm->accel.vm, follow_run_state, kvm);
        kvm_eventfd_clear(kvm);
        kvm_memory_clear(kvm);
    }
    g_clear_pointer(&kvm->routes, g_array_unref);
    g_free(kvm->supported);
    if (kvm->vm_fd >= 0) {
        close(kvm->vm_fd);
    }
    if (kvm->fd >= 0) {
        close(kvm->fd);
    }
}

static void kvm_features(Accel *accel, uint32_t *words)
{
    kvm_cpuid_features((KvmAccel *)accel, words);
}

static const char *const irqchip_words[] = { "off", "split", "on", NULL };

static void kvm_info(Accel *accel, GString *out)
{
    KvmAccel *kvm = (KvmAccel *)accel;
    uint64_t count = __atomic_load_n(&kvm->emulated, __ATOMIC_RELAXED);

    g_string_append_printf(out, "interrupt controllers in the kernel: %s\n",
                           irqchip_words[kvm->irqchip]);
    g_string_append_printf(out, "memory slots: %u of %u\n", kvm->slots->len, kvm->slot_max);
    g_string_append_printf(out, "instructions run in software: %" PRIu64 "\n", count);
    if (count) {
        g_string_append_printf(out, "the first of them: %s\n", kvm->first_emulated);
    }
}

/* ---- vCPUs ---- */

static void on_ipi(int signal)
{
    /* Only interrupts KVM_RUN. */
}

static void accept_kicks(void)
{
    struct sigaction action = { .sa_handler = on_ipi };
    sigset_t set;

    sigaction(SIG_IPI, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIG_IPI);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void kvm_cpu_destroy(Cpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);

    if (!v) {
        return;
    }
    cpu->accel_data = NULL;
    if (v->x86->interp) {
        interp_clear(v->x86);
    }
    if (v->run) {
        munmap(v->run, v->kvm->run_size);
    }
    if (v->fd >= 0) {
        close(v->fd);
    }
    free(v);
}

static bool kvm_cpu_init(Cpu *cpu, GError **error)
{
    KvmAccel *kvm = (KvmAccel *)cpu->dev.vm->accel;
    KvmCpu *v = aligned_alloc(64, align_up(sizeof(KvmCpu), 64));
    void *run;

    if (!v) {
        return error_set(error, "No memory for CPU %u", cpu->index);
    }
    memset(v, 0, sizeof(*v));
    v->kvm = kvm;
    v->cpu = cpu;
    v->x86 = x86_cpu_device(cpu)->x86;
    cpu->accel_data = v;
    interp_init(v->x86);
    /* KVM's local APICs take their ids from here. */
    v->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)v->x86->apic_id);
    if (v->fd < 0) {
        return error_set_errno(error, errno, "KVM cannot create CPU %u (it allows %d)", cpu->index,
                               ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS));
    }
    run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED) {
        return error_set_errno(error, errno, "Cannot map the state of CPU %u", cpu->index);
    }
    v->run = run;
    accept_kicks();
    if (!kvm_cpuid_set(v, error)) {
        return false;
    }
    kvm_state_init(v);
    return true;
}

void kvm_cpu_kick(Cpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);

    if (v && v->run) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(cpu->thread, SIG_IPI);
    }
}

static void kvm_cpu_get_state(Cpu *cpu)
{
    if (kvm_cpu(cpu)) {
        kvm_state_fetch(kvm_cpu(cpu));
    }
}

static void kvm_cpu_put_state(Cpu *cpu)
{
    kvm_state_store(kvm_cpu(cpu));
}

static Json *get_irqchip(Object *obj, const PropDef *prop)
{
    return json_new_string(irqchip_words[((KvmAccel *)(void *)obj)->irqchip]);
}

static bool set_irqchip(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    for (int i = 0; text && irqchip_words[i]; i++) {
        if (g_str_equal(text, irqchip_words[i])) {
            ((KvmAccel *)(void *)obj)->irqchip_wanted = i;
            return true;
        }
    }
    return error_set(error, "Property 'kernel-irqchip' is 'on', 'off' or 'split', not '%s'",
                     text ? text : "a number");
}

static bool kvm_has_kernel_irqchip(Accel *accel)
{
    return kvm_has_apic((KvmAccel *)accel);
}

static const PropDef kvm_props[] = {
    PROP_COMPUTED("kernel-irqchip", &prop_str, get_irqchip, set_irqchip,
                  .help = "interrupt controllers in the kernel: on, off or split"),
    PROP_END
};

ACCEL_TYPE(kvm, .name = "kvm-accel", .accel = "kvm", .size = sizeof(KvmAccel),
           .desc = "the host CPU, by /dev/kvm", .props = kvm_props, .init = kvm_init,
           .finalize = kvm_finalize, .probe = kvm_probe, .init_vm = kvm_init_vm,
           .cpu_init = kvm_cpu_init, .cpu_run = kvm_cpu_run, .cpu_kick = kvm_cpu_kick,
           .cpu_destroy = kvm_cpu_destroy, .cpu_get_state = kvm_cpu_get_state,
           .cpu_put_state = kvm_cpu_put_state, .features = kvm_features,
           .has_kernel_irqchip = kvm_has_kernel_irqchip, .kernel_eventfds = true,
           .irqfds = kvm_irqfds,
           .cpu_model_name = "host", .info = kvm_info);
