/* SPDX-License-Identifier: MIT */
/*
 * Small guests under the "kvm" accelerator with interrupt controllers of ours.  Each is a few bytes of
 * machine code that ends by writing to a port; skipped, with the reason, where /dev/kvm cannot be used.
 */
#include <sys/eventfd.h>
#include <unistd.h>
#include <x86intrin.h>

#include "accel/kvm/kvm_bench.h"
#include "target-x86/mmu.h"
#include "vm/cpu.h"

/* 64-bit code: the first 2 MiB mapped one to one. */
static void enter_long_mode(Rig *rig)
{
    X86Cpu *x = rig->x86;

    le64_store(rig->bytes + PML4, PDPT | 7);
    le64_store(rig->bytes + PDPT, PD | 7);
    le64_store(rig->bytes + PD, 0x87);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        x->segs[i] = (X86Seg){ 0x10, DESC_P | DESC_S | DESC_W | DESC_A | DESC_DB | DESC_G,
                               0xffffffff, 0 };
    }
    x->segs[SEG_CS] = (X86Seg){ 0x08, DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_L |
                                          DESC_G, 0xffffffff, 0 };
    x86_load_cr(x, CR0_PE | CR0_PG | CR0_NE, PML4, CR4_PAE | CR4_OSFXSR, EFER_LME | EFER_LMA);
}

/* ---- tests ---- */

static void test_port_value_arrives(void)
{
    static const uint8_t code[] = { 0xe4, PORT, 0xfe, 0xc0 };     /* in al, PORT; inc al */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    rig_run(&rig);
    g_assert_cmphex(rig.end_value, ==, 0x5b);
    g_assert_cmphex(rig.x86->gpr[R_RAX] & 0xff, ==, 0x5b);
    rig_clear(&rig);
}

static void test_string_output_keeps_order(void)
{
    static const uint8_t code[] = { 0xbe, 0x00, 0x90, 0xb9, 0x04, 0x00, 0xba, PORT, 0x00,
                                    0xfc, 0xf3, 0x6e };           /* rep outsb */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    memcpy(rig.bytes + DATA, "KVM!", 4);
    rig_load(&rig, code, sizeof(code));
    rig_run(&rig);
    g_assert_cmpmem(rig.out->data, rig.out->len, "KVM!", 4);
    g_assert_cmphex(rig.x86->gpr[R_RCX] & 0xffff, ==, 0);
    rig_clear(&rig);
}

static void test_mmio_reads_and_writes(void)
{
    static const uint8_t code[] = { 0xb8, 0x00, 0xd0, 0x8e, 0xd8,           /* ds = 0xd000 */
                                    0x66, 0xa1, 0x08, 0x00, 0x66, 0x40,     /* eax = [8] + 1 */
                                    0x66, 0xa3, 0x04, 0x00 };               /* [4] = eax */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    rig_run(&rig);
    g_assert_cmphex(rig.mmio_last, ==, 0x11110009);
    rig_clear(&rig);
}

/* The matching writes of memory and of a port are signals and reach no device; the others do. */
static void test_eventfds_take_their_writes(void)
{
    static const uint8_t code[] = { 0xb8, 0x00, 0xd0, 0x8e, 0xd8,               /* ds = 0xd000 */
                                    0xb8, 5, 0, 0xa3, 0, 0, 0xb8, 6, 0, 0xa3, 0, 0,     /* [0] = 5, 6 */
                                    0xb0, 7, 0xe6, PORT, 0xb0, 8, 0xe6, PORT };         /* out 7, 8 */
    int memory = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), port = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t count = 0;
    Rig rig;

    if (!rig_init(&rig, "off")) {
        close(memory);
        close(port);
        return;
    }
    rig_load(&rig, code, sizeof(code));
    memory_region_add_eventfd(&rig.mmio, 0, 2, true, 5, memory);
    memory_region_add_eventfd(&rig.port, 0, 1, true, 7, port);
    rig_run(&rig);
    g_assert_cmpint(read(memory, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpint(read(port, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmphex(rig.mmio_last, ==, 6);
    g_assert_cmpuint(rig.out->len, ==, 1);
    g_assert_cmphex(rig.out->data[0], ==, 8);
    memory_region_del_eventfd(&rig.mmio, 0, 2, true, 5, memory);
    memory_region_del_eventfd(&rig.port, 0, 1, true, 7, port);
    rig_clear(&rig);
    close(memory);
    close(port);
}

static void test_rom_does_not_change(void)
{
    static const uint8_t code[] = { 0xb8, 0x00, 0xe0, 0x8e, 0xd8,           /* ds = 0xe000 */
                                    0xc6, 0x06, 0x00, 0x00, 0x77, 0xa0, 0x00, 0x00 };
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    *(uint8_t *)memory_region_ram_ptr(&rig.rom) = 0x33;
    rig_load(&rig, code, sizeof(code));
    rig_run(&rig);
    g_assert_cmphex(rig.end_value, ==, 0x33);
    rig_clear(&rig);
}

/* Hardware does it; a KVM that cannot hands it to the interpreter: the guest sees no difference. */
static void test_cmpxchg16b_works_either_way(void)
{
    static const uint8_t code[] = { 0xf0, 0x48, 0x0f, 0xc7, 0x0e,           /* cmpxchg16b [rsi] */
                                    0x0f, 0x94, 0xc0 };                     /* setz al */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    enter_long_mode(&rig);
    rig.x86->gpr[R_RSI] = DATA;
    rig.x86->gpr[R_RAX] = 0x1111;
    rig.x86->gpr[R_RDX] = 0x2222;
    rig.x86->gpr[R_RBX] = 0x3333;
    rig.x86->gpr[R_RCX] = 0x4444;
    le64_store(rig.bytes + DATA, 0x1111);
    le64_store(rig.bytes + DATA + 8, 0x2222);
    rig_run(&rig);
    g_test_message("instructions run in software: %" G_GUINT64_FORMAT, rig.kvm->emulated);
    g_assert_cmphex(rig.end_value, ==, 1);
    g_assert_cmphex(le64_load(rig.bytes + DATA), ==, 0x3333);
    g_assert_cmphex(le64_load(rig.bytes + DATA + 8), ==, 0x4444);
    rig_clear(&rig);
}

/* XSAVE and XRSTOR of x87 and SSE state, which a KVM without hardware support gives up on. */
static void test_xrstor_works_either_way(void)
{
    static const uint8_t code[] = { 0xb8, 0x03, 0x00, 0x00, 0x00, 0x31, 0xd2,   /* edx:eax = 3 */
                                    0x0f, 0xae, 0x26,                           /* xsave [rsi] */
                                    0x0f, 0x57, 0xc0,                           /* xorps xmm0 */
                                    0x0f, 0xae, 0x2e,                           /* xrstor [rsi] */
                                    0x66, 0x48, 0x0f, 0x7e, 0xc0 };             /* rax = xmm0 */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    enter_long_mode(&rig);
    rig.x86->cr4 |= CR4_OSXSAVE;
    rig.x86->xcr0 = 3;
    rig.x86->gpr[R_RSI] = DATA;
    rig.x86->zmm[0].u64[0] = 0x5e;
    rig_run(&rig);
    g_assert_cmphex(rig.end_value, ==, 0x5e);
    rig_clear(&rig);
}

static void test_interrupt_wakes_a_halted_guest(void)
{
    static const uint8_t code[] = { 0xe6, PORT, 0xfb, 0xf4, 0xb0, 0x07 };   /* out; sti; hlt; al=7 */
    static const uint8_t handler[] = { 0xe6, PORT, 0xcf };                  /* out; iret */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    memcpy(rig.bytes + 0x2000, handler, sizeof(handler));
    le32_store(rig.bytes + VECTOR * 4, 0x2000);
    vm_start(rig.vm);
    while (!__atomic_load_n(&rig.dev->cpu.halted, __ATOMIC_SEQ_CST)) {
        machine_unlock();
        g_thread_yield();
        machine_lock();
    }
    x86_cpu_request(rig.x86, X86_REQ_INTR);
    cpu_kick(&rig.dev->cpu);
    rig_run(&rig);
    g_assert_cmpuint(rig.out->len, ==, 2);
    g_assert_cmphex(rig.end_value, ==, 7);
    rig_clear(&rig);
}

static void test_interrupt_waits_for_its_window(void)
{
    /* out 1; sti; loop until the handler has set bl: how soon the window is seen is KVM's affair. */
    static const uint8_t code[] = { 0x30, 0xdb, 0xb0, 0x01, 0xe6, PORT, 0xfb,
                                    0x84, 0xdb, 0x74, 0xfc, 0xb0, 0x03 };
    static const uint8_t handler[] = { 0xb0, 0x02, 0xe6, PORT, 0xb3, 0x01, 0xcf };
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    memcpy(rig.bytes + 0x2000, handler, sizeof(handler));
    le32_store(rig.bytes + VECTOR * 4, 0x2000);
    x86_cpu_request(rig.x86, X86_REQ_INTR);     /* pending from the start, IF = 0 */
    rig_run(&rig);
    g_assert_cmpmem(rig.out->data, rig.out->len, "\1\2", 2);
    rig_clear(&rig);
}

/* SMM runs in the interpreter; the guest finds its registers as they were. */
static void test_smi_is_served(void)
{
    static const uint8_t code[] = { 0xbb, 0x34, 0x12, 0xa0, 0x00, 0x90, 0x84, 0xc0,
                                    0x74, 0xf9 };           /* bx = 0x1234; wait for [0x9000] */
    static const uint8_t handler[] = { 0x31, 0xdb, 0xc6, 0x06, 0x00, 0x90, 0x05,
                                       0x0f, 0xaa };        /* bx = 0; [0x9000] = 5; rsm */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    memcpy(rig.bytes + 0x38000, handler, sizeof(handler));
    vm_start(rig.vm);
    x86_cpu_request(rig.x86, X86_REQ_SMI);
    cpu_kick(&rig.dev->cpu);
    rig_run(&rig);
    g_assert_cmphex(rig.end_value, ==, 5);
    g_assert_cmphex(rig.x86->gpr[R_RBX] & 0xffff, ==, 0x1234);
    rig_clear(&rig);
}

static void test_second_cpu_waits_for_sipi(void)
{
    static const uint8_t spin[] = { 0xeb, 0xfe };
    static const uint8_t start[] = { 0x8c, 0xc8, 0xe6, PORT_END, 0xeb, 0xfe };   /* ax = cs; out */
    X86CpuDevice *second;
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    second = rig_add_cpu(&rig, 1);
    rig_load(&rig, spin, sizeof(spin));
    memcpy(rig.bytes + 0x5000, start, sizeof(start));
    second->x86->sipi_vector = 5;
    vm_start(rig.vm);
    g_assert_false(rig.ended);
    x86_cpu_request(second->x86, X86_REQ_INIT);
    cpu_kick(&second->cpu);
    x86_cpu_request(second->x86, X86_REQ_SIPI);
    cpu_kick(&second->cpu);
    rig_run(&rig);
    g_assert_cmphex(rig.end_value, ==, 0);
    g_assert_cmphex(second->x86->segs[SEG_CS].sel, ==, 0x500);
    g_assert_false(second->x86->wait_sipi);
    rig_remove_cpu(second);
    rig_clear(&rig);
}

static void test_a_spinning_guest_stops(void)
{
    static const uint8_t code[] = { 0xe6, PORT_END, 0xeb, 0xfe };           /* out; jmp $ */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    for (unsigned i = 0; i < 20; i++) {
        rig_run(&rig);                              /* would hang if a kick were lost */
    }
    g_assert_true(rig.dev->cpu.stopped);
    g_assert_cmphex(rig.x86->rip, ==, CODE + 2);
    rig_clear(&rig);
}

static void test_dirty_log_names_the_page(void)
{
    static const uint8_t code[] = { 0xc6, 0x06, 0x10, 0x90, 0x55 };         /* byte [0x9010] = 0x55 */
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    memory_region_set_logging(&rig.ram, DIRTY_VGA, true);
    rig_load(&rig, code, sizeof(code));
    memory_test_and_clear_dirty(&rig.ram, 0, RAM_SIZE, DIRTY_VGA);
    rig_run(&rig);
    g_assert_true(memory_test_and_clear_dirty(&rig.ram, DATA, 0x1000, DIRTY_VGA));
    g_assert_false(memory_test_and_clear_dirty(&rig.ram, DATA + 0x1000, 0x1000, DIRTY_VGA));
    memory_region_set_logging(&rig.ram, DIRTY_VGA, false);
    rig_clear(&rig);
}

static void there_and_back(Cpu *cpu, void *opaque)
{
    KvmCpu *v = kvm_cpu(cpu);
    X86Cpu *x = v->x86;
    bool ok = kvm_state_store(v);

    g_assert_true(ok);
    memset(x->gpr, 0, sizeof(x->gpr));
    memset(x->zmm, 0, sizeof(x->zmm));
    memset(x->k, 0, sizeof(x->k));
    memset(&x->x87, 0, sizeof(x->x87));
    memset(x->segs, 0, sizeof(x->segs[0]) * SEG_COUNT);
    x->msrs.star = x->msrs.lstar = x->msrs.pat = x->msrs.kernel_gs_base = 0;
    x->dr[0] = x->cr2 = x->rip = x->cc = x->eflags = 0;
    x->interrupt_shadow = false;
    kvm_state_fetch(v);
}

/* Each component of XSAVE that this KVM has, shown to the guest or not: upper halves, the other sixteen, masks. */
static void test_vectors_survive_kvm(void)
{
    X86Vec zmm[32] = { 0 };
    uint64_t k[8] = { 0 };
    uint32_t size;
    bool avx512;
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    if (!kvm_xsave_offset(rig.kvm, 2, &size)) {
        rig_clear(&rig);
        g_test_skip("KVM has no AVX here");
        return;
    }
    avx512 = kvm_xsave_offset(rig.kvm, 5, &size) && kvm_xsave_offset(rig.kvm, 6, &size) &&
             kvm_xsave_offset(rig.kvm, 7, &size);
    enter_long_mode(&rig);
    rig.x86->cr4 |= CR4_OSXSAVE;
    rig.x86->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    for (unsigned i = 0; i < (avx512 ? 32 : 16); i++) {
        for (unsigned n = 0; n < (avx512 ? 8 : 4); n++) {
            zmm[i].u64[n] = 0x1000 * (n + 1) + i;
        }
        k[i & 7] = avx512 ? 0x5000 + (i & 7) : 0;
    }
    memcpy(rig.x86->zmm, zmm, sizeof(zmm));
    memcpy(rig.x86->k, k, sizeof(k));
    cpu_run_on(&rig.dev->cpu, there_and_back, NULL);
    g_assert_cmpmem(rig.x86->zmm, sizeof(zmm), zmm, sizeof(zmm));
    g_assert_cmpmem(rig.x86->k, sizeof(k), k, sizeof(k));
    g_test_message("AVX-512 %s", avx512 ? "too" : "not: KVM has none here");
    rig_clear(&rig);
}

static void test_registers_survive_kvm(void)
{
    X86Seg segs[SEG_COUNT];
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    enter_long_mode(&rig);
    for (unsigned i = 0; i < 16; i++) {
        rig.x86->gpr[i] = 0x0123456789abcd00 + i;
        rig.x86->zmm[i].u64[0] = 0x1000 + i;
        rig.x86->zmm[i].u64[1] = 0x2000 + i;
    }
    rig.x86->x87.fcw = 0x37f;
    rig.x86->x87.mxcsr = 0x1f80;
    rig.x86->x87.st[0].mantissa = 0x8000000000000001;
    rig.x86->x87.st[0].exponent = 0x3fff;
    rig.x86->rip = 0x12345;
    rig.x86->cr2 = 0x777000;
    rig.x86->dr[0] = 0x4242;
    rig.x86->msrs.star = 0x0023001000000000;
    rig.x86->msrs.lstar = 0xffffffff81000000;
    rig.x86->msrs.kernel_gs_base = 0x5000;
    x86_set_rflags(rig.x86, FLAG_CF | FLAG_OF | FLAG_IF);
    rig.x86->interrupt_shadow = true;
    memcpy(segs, rig.x86->segs, sizeof(segs));
    cpu_run_on(&rig.dev->cpu, there_and_back, NULL);
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmphex(rig.x86->gpr[i], ==, 0x0123456789abcd00 + i);
        g_assert_cmphex(rig.x86->zmm[i].u64[0], ==, 0x1000 + i);
        g_assert_cmphex(rig.x86->zmm[i].u64[1], ==, 0x2000 + i);
    }
    g_assert_cmphex(rig.x86->x87.fcw, ==, 0x37f);
    g_assert_cmphex(rig.x86->x87.mxcsr, ==, 0x1f80);
    g_assert_cmphex(rig.x86->x87.st[0].mantissa, ==, 0x8000000000000001);
    g_assert_cmphex(rig.x86->x87.st[0].exponent, ==, 0x3fff);
    g_assert_cmphex(rig.x86->rip, ==, 0x12345);
    g_assert_cmphex(rig.x86->cr2, ==, 0x777000);
    g_assert_cmphex(rig.x86->dr[0], ==, 0x4242);
    g_assert_cmphex(rig.x86->msrs.star, ==, 0x0023001000000000);
    g_assert_cmphex(rig.x86->msrs.lstar, ==, 0xffffffff81000000);
    g_assert_cmphex(rig.x86->msrs.kernel_gs_base, ==, 0x5000);
    g_assert_cmphex(x86_rflags(rig.x86), ==, FLAG_CF | FLAG_OF | FLAG_IF | FLAG_ONE);
    g_assert_true(rig.x86->interrupt_shadow);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        g_assert_cmphex(rig.x86->segs[i].sel, ==, segs[i].sel);
        g_assert_cmphex(rig.x86->segs[i].flags, ==, segs[i].flags);
        g_assert_cmphex(rig.x86->segs[i].limit, ==, segs[i].limit);
    }
    rig_clear(&rig);
}

static uint64_t hole_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void hole_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static const MmioOps hole_ops = { .read = hole_read, .write = hole_write };

/* A slot goes away and comes back, in two pieces or one, while the guest runs in it: it is kept out of
 * KVM_RUN meanwhile, so no instruction is ever without its memory. */
static void test_slots_change_under_a_running_guest(void)
{
    /* inc dword [rsi]; cmp dword [rsi], 20000; jb; al = 9; jump to the end */
    static const uint8_t code[] = { 0xff, 0x06, 0x81, 0x3e, 0x20, 0x4e, 0x00, 0x00, 0x72, 0xf6,
                                    0xb0, 0x09, 0xe6, PORT_END, 0xf4, 0xeb, 0xfd };
    enum { HIGH_CODE = 0x180000, HIGH_DATA = 0x190000, HOLE = 0x300000, COUNT = 20000 };
    MemoryRegion hole;
    unsigned changes = 0;
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    enter_long_mode(&rig);
    memcpy(rig.bytes + HIGH_CODE, code, sizeof(code));
    rig.x86->rip = rig.x86->next_rip = HIGH_CODE;
    rig.x86->gpr[R_RSI] = HIGH_DATA;
    memory_region_init_io(&hole, NULL, "hole", &hole_ops, &rig, 0x1000);
    vm_start(rig.vm);
    while (!rig.ended) {
        memory_region_add_overlap(&rig.vm->system_memory, HOLE, &hole, 1);
        machine_unlock();
        g_thread_yield();
        machine_lock();
        memory_region_remove(&rig.vm->system_memory, &hole);
        machine_unlock();
        g_thread_yield();
        machine_lock();
        changes++;
    }
    vm_stop(rig.vm, RUN_STATE_PAUSED);
    g_test_message("the map changed %u times", changes);
    g_assert_cmpuint(le32_load(rig.bytes + HIGH_DATA), ==, COUNT);
    g_assert_cmphex(rig.end_value, ==, 9);
    g_assert_cmpuint(rig.kvm->emulated, ==, 0);
    memory_region_clear(&hole);
    rig_clear(&rig);
}

/* The guest reads what the model promises, no more. */
static void test_arch_capabilities_are_the_models(void)
{
    /* ecx = 10ah; rdmsr; [DATA] = eax */
    static const uint8_t code[] = { 0x66, 0xb9, 0x0a, 0x01, 0x00, 0x00, 0x0f, 0x32,
                                    0x66, 0xa3, 0x00, 0x90 };
    uint32_t words[FEAT_WORDS];
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    kvm_cpuid_features(rig.kvm, words);
    if (!x86_has(rig.x86, X86_FEAT(7_0_EDX, 29))) {
        g_test_skip("KVM has no IA32_ARCH_CAPABILITIES here");
    } else {
        g_assert_cmphex(rig.x86->features[FEAT_ARCH_CAPABILITIES], ==, words[FEAT_ARCH_CAPABILITIES]);
        rig_load(&rig, code, sizeof(code));
        rig_run(&rig);
        g_assert_cmphex(le32_load(rig.bytes + DATA), ==, words[FEAT_ARCH_CAPABILITIES]);
    }
    rig_clear(&rig);
}

/* However long the VM stood still: the guest's TSC has not moved on by that. */
static void test_tsc_stands_with_the_vm(void)
{
    static const uint8_t code[] = { 0xe6, PORT_END, 0xeb, 0xfe };           /* out; jmp $ */
    enum { PAUSE = 30000000 };
    int64_t before;
    uint64_t start;
    Rig rig;

    if (!rig_init(&rig, "off")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    rig_run(&rig);
    before = rig.x86->tsc_offset;
    start = __rdtsc();
    while (__rdtsc() - start < PAUSE) {
        g_thread_yield();
    }
    rig_run(&rig);
    g_assert_cmpint(before - rig.x86->tsc_offset, >=, PAUSE);
    rig_clear(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    x86_cpu_register_types();
    g_test_add_func("/kvm/port-value-arrives", test_port_value_arrives);
    g_test_add_func("/kvm/string-output-keeps-order", test_string_output_keeps_order);
    g_test_add_func("/kvm/mmio-reads-and-writes", test_mmio_reads_and_writes);
    g_test_add_func("/kvm/eventfds-take-their-writes", test_eventfds_take_their_writes);
    g_test_add_func("/kvm/rom-does-not-change", test_rom_does_not_change);
    g_test_add_func("/kvm/cmpxchg16b-works-either-way", test_cmpxchg16b_works_either_way);
    g_test_add_func("/kvm/xrstor-works-either-way", test_xrstor_works_either_way);
    g_test_add_func("/kvm/interrupt-wakes-a-halted-guest", test_interrupt_wakes_a_halted_guest);
    g_test_add_func("/kvm/interrupt-waits-for-its-window", test_interrupt_waits_for_its_window);
    g_test_add_func("/kvm/smi-is-served", test_smi_is_served);
    g_test_add_func("/kvm/second-cpu-waits-for-sipi", test_second_cpu_waits_for_sipi);
    g_test_add_func("/kvm/a-spinning-guest-stops", test_a_spinning_guest_stops);
    g_test_add_func("/kvm/dirty-log-names-the-page", test_dirty_log_names_the_page);
    g_test_add_func("/kvm/registers-survive-kvm", test_registers_survive_kvm);
    g_test_add_func("/kvm/vectors-survive-kvm", test_vectors_survive_kvm);
    g_test_add_func("/kvm/arch-capabilities", test_arch_capabilities_are_the_models);
    g_test_add_func("/kvm/slots-change", test_slots_change_under_a_running_guest);
    g_test_add_func("/kvm/tsc-stands-with-the-vm", test_tsc_stands_with_the_vm);
    return g_test_run();
}
