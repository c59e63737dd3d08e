/* SPDX-License-Identifier: MIT */
/*
 * The CPU device: its properties, and saving and loading: what was saved comes back into a CPU in another state, a section of
 * QEMU 7.2's own comes out as it went in, and states that cannot be are refused.
 */
#include "target-x86/cpu_models.h"
#include "target-x86/fpu.h"
#include "target-x86/mmu.h"
#include "target-x86/msr.h"
#include "target-x86/x86_vmstate.h"
#include "vm/accel.h"

/* ---- a VM with one CPU that never runs ---- */

static void idle_run(Cpu *cpu)
{
    __atomic_store_n(&cpu->halted, 1, __ATOMIC_SEQ_CST);
}

ACCEL_TYPE(idle, .name = "idle-accel", .accel = "idle", .size = sizeof(Accel), .cpu_run = idle_run);

typedef struct Rig {
    Vm *vm;
    X86CpuDevice *dev;
    X86Cpu *x;
} Rig;

static void rig_init(Rig *rig, const char *model)
{
    g_autoptr(GError) error = NULL;
    bool ok;

    machine_lock();
    rig->vm = vm_new();
    rig->vm->accel = (Accel *)(void *)object_new_known(type_find("idle-accel"));
    rig->vm->accel->vm = rig->vm;
    x86_cpu_register_types();
    rig->dev = x86_cpu_create(rig->vm, model, 0, 0, &error);
    g_assert_no_error(error);
    ok = device_realize(&rig->dev->cpu.dev, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    rig->x = rig->dev->x86;
}

static void rig_clear(Rig *rig)
{
    Accel *accel = rig->vm->accel;

    device_unplug(&rig->dev->cpu.dev);
    object_unref(OBJECT(rig->dev));
    vm_free(rig->vm);
    object_unref(OBJECT(accel));
    machine_unlock();
}

static VmWriter *save(Rig *rig)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    bool ok = vm_save_devices(rig->vm, w, &error);

    g_assert_no_error(error);
    g_assert_true(ok);
    return w;
}

static bool load(Rig *rig, const uint8_t *bytes, size_t len, GError **error)
{
    VmReader *r = vm_reader_new(bytes, len);
    bool ok = vm_load_devices(rig->vm, r, error);

    vm_reader_free(r);
    return ok;
}

static bool load_writer(Rig *rig, VmWriter *w, GError **error)
{
    size_t len;
    const uint8_t *bytes = vm_writer_bytes(w, &len);

    return load(rig, bytes, len, error);
}

/* ---- there and back ---- */

static void fill(X86Cpu *x)
{
    for (unsigned i = 0; i < 16; i++) {
        x->gpr[i] = 0x1111111111111111ull * i;
    }
    for (unsigned i = 0; i < 32; i++) {
        for (unsigned n = 0; n < 8; n++) {
            x->zmm[i].u64[n] = 0x100 * (n + 1) + i;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        x->k[i] = 0x1234567800000000 + i;
    }
    for (unsigned i = 0; i < 8; i++) {
        x->x87.st[i].mantissa = 0x8000000000000000ull + i;
        x->x87.st[i].exponent = 0x3ff0 + i;
    }
    x->x87.fcw = 0x27f;
    x->x87.fsw = 5 << 11 | 0x41;
    x->x87.ftw = 0x37;
    x->x87.fop = 0x123;
    x->x87.fip = 0x401000;
    x->x87.fdp = 0x7fffffffe000;
    x->x87.mxcsr = 0x9fc0;
    x->rip = 0xffffffff81000123;
    x86_set_rflags(x, FLAG_CF | FLAG_SF | FLAG_IF | FLAG_AC | 3 << FLAG_IOPL_SHIFT);
    x->segs[SEG_CS] = (X86Seg){ 0x33, DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_L |
                                          DESC_DPL | DESC_G, 0xffffffff, 0 };
    x->segs[SEG_SS] = (X86Seg){ 0x2b, DESC_P | DESC_S | DESC_W | DESC_A | DESC_DB | DESC_DPL |
                                          DESC_G, 0xffffffff, 0 };
    x->segs[SEG_GS].base = 0xffff888000000000;
    x->cpl = 3;
    x->gdt = (X86Table){ 0xfffffe0000001000, 0x7f };
    x->tr = (X86Seg){ 0x40, DESC_P | 11 << DESC_TYPE_SHIFT, 0x4087, 0xfffffe0000003000 };
    x->xcr0 = 7;
    x->pkru = 0x55555554;
    x->msrs.lstar = 0xffffffff81800000;
    x->msrs.tsc_aux = 3;
    x->msrs.tsc_adjust = 77;
    x->msrs.spec_ctrl = 1;
    x->msrs.smi_count = 4;
    x->msrs.misc_enable = 0x40001;
    x->msrs.mce_banks[5] = 9;
    x->msrs.mtrr_var[2].mask = 0xffff000800;
    x->dr[3] = 0x4444;
    x->cr2 = 0xdead000;
    x->a20_mask = ~(uint64_t)BIT(20);
    x->interrupt_shadow = true;
    x->nmi_blocked = true;
    x->event = (X86Event){ .vector = 0x41, .pending = true, .external = true };
    x86_load_cr(x, CR0_PE | CR0_PG | CR0_MP | CR0_ET | CR0_NE, 0x1000,
                CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE, EFER_LME | EFER_LMA | EFER_SCE);
    x86_update_mode(x);
}

static void same_seg(const X86Seg *a, const X86Seg *b)
{
    g_assert_cmphex(a->sel, ==, b->sel);
    g_assert_cmphex(a->flags, ==, b->flags);
    g_assert_cmphex(a->limit, ==, b->limit);
    g_assert_cmphex(a->base, ==, b->base);
}

static void test_state_comes_back(void)
{
    g_autofree X86Cpu *copy = NULL;
    g_autoptr(GError) error = NULL;
    VmWriter *w;
    Rig rig;
    bool ok;

    rig_init(&rig, "max,-check");
    fill(rig.x);
    copy = g_memdup2(rig.x, sizeof(*rig.x));
    w = save(&rig);
    x86_cpu_reset(rig.x, false);
    memset(rig.x->zmm, 0xee, sizeof(rig.x->zmm));
    memset(rig.x->k, 0xee, sizeof(rig.x->k));
    rig.x->smm = true;
    ok = load_writer(&rig, w, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
#define SAME(f) g_assert_cmpmem(&rig.x->f, sizeof(rig.x->f), &copy->f, sizeof(copy->f))
    SAME(gpr);
    SAME(rip);
    SAME(cc);
    SAME(eflags);
    SAME(mode);
    SAME(cpl);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        same_seg(&rig.x->segs[i], &copy->segs[i]);
    }
    SAME(x87);
    SAME(zmm);
    SAME(k);
    SAME(xcr0);
    SAME(pkru);
    same_seg(&rig.x->ldt, &copy->ldt);
    same_seg(&rig.x->tr, &copy->tr);
    SAME(gdt.base);
    SAME(gdt.limit);
    SAME(cr0);
    SAME(cr2);
    SAME(cr3);
    SAME(cr4);
    SAME(efer);
    SAME(dr);
    SAME(msrs.lstar);
    SAME(msrs.tsc_aux);
    SAME(msrs.tsc_adjust);
    SAME(msrs.spec_ctrl);
    SAME(msrs.smi_count);
    SAME(msrs.misc_enable);
    SAME(msrs.mce_banks);
    SAME(msrs.mtrr_var);
    SAME(a20_mask);
    SAME(interrupt_shadow);
    SAME(nmi_blocked);
    SAME(event.vector);
    SAME(event.external);
#undef SAME
    g_assert_true(rig.x->event.pending);
    g_assert_false(rig.x->smm);
    g_assert_true(atomic_load(&rig.x->requests) & X86_REQ_TLB_FLUSH);
    vm_writer_free(w);
    rig_clear(&rig);
}

static void test_waiting_and_halted(void)
{
    g_autoptr(GError) error = NULL;
    VmWriter *w;
    Rig rig;

    rig_init(&rig, "qemu64");
    rig.x->wait_sipi = true;
    w = save(&rig);
    rig.x->wait_sipi = false;
    g_assert_true(load_writer(&rig, w, &error));
    g_assert_true(rig.x->wait_sipi);
    g_assert_false(rig.x->halted);
    vm_writer_free(w);
    rig.x->wait_sipi = false;
    rig.x->halted = true;
    x86_cpu_request(rig.x, X86_REQ_NMI);
    w = save(&rig);
    x86_cpu_reset(rig.x, false);
    x86_cpu_request_clear(rig.x, X86_REQ_NMI);
    g_assert_true(load_writer(&rig, w, &error));
    g_assert_true(rig.x->halted);
    g_assert_true(atomic_load(&rig.x->requests) & X86_REQ_NMI);
    vm_writer_free(w);
    rig_clear(&rig);
}

/* ---- QEMU's own ---- */

/* The section "cpu" of QEMU 7.2.22, TCG, qemu64, in the middle of booting Linux 6.1; zN. is N bytes
 * of zero. */
static const char qemu_cpu[] =
    "z3.0f7a6be9a1z5.9e58a4z6.5758z6.1838ffffd2f000013d98ffffd2f000013e10z11.0f7a6b9249z13.27"
    "452az7.03ffffffff9e4d2328z14.19z8.55z8.ffffffff9d3c3643z6.02830040c2b0037fz109.10z8.ffff"
    "ffff00af9bz4.18z8.ffffffff00cf93z45.ffff8f2f47a0z28.82z4.40fffffez3.30z3.4087000089z5.ff"
    "fffez3.10z4.7fz8.fffffez7.0fffz7.10fffffez3.3000ffffffff9d6017b0z4.80050033ffff8f2f4720"
    "10z5.0641z8.06b0z52.ffff0ff0z6.0400ffffffff00001f80z262.0d0100230010z4.ffffffff9d600080"
    "ffffffff9d601870z5.257fd5z9.0a0000040705060007010600000181z45.06060606060606060606060606"
    "060606z8.050505050505050505050505050505050505050505050505050505050505050505050505050505"
    "05050505050505050505050505050505050505050505050505z6.0c06z4.80z6.ff800008z113.ffffffff"
    "z12.ffffffffz12.0100010az8.ffffffffffffffffffffffffffffffffz24.ffffffffffffffffz24.ffff"
    "ffffffffffffz24.ffffffffffffffffz24.ffffffffffffffffz24.ffffffffffffffffz24.ffffffffffff"
    "ffffz24.ffffffffffffffffz24.ffffffffffffffffz24.ffffffffffffffffz55.01z264.05146370752f"
    "706f6c6c5f636f6e74726f6c5f6d7372z3.01z8.05116370752f6d73725f736d695f636f756e74z3.01z7.01";
enum { CPU_BYTES = 1882, AT_CR0 = 456, AT_CR4 = 480, AT_MXCSR = 556, AT_EFER = 816, AT_LSTAR = 832,
       AT_HFLAGS2 = 876, AT_TSC = 1157, AT_MCG_CAP = 1177, AT_XCR0 = 1545, AT_XSTATE = 1553,
       AT_SUBSECTIONS = 1817 };

static void unpack(uint8_t out[CPU_BYTES])
{
    size_t n = 0;

    for (const char *p = qemu_cpu; *p;) {
        if (*p == 'z') {
            size_t zeros = strtoul(p + 1, (char **)&p, 10);

            memset(out + n, 0, zeros);
            n += zeros;
            p++;
        } else {
            out[n++] = g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]);
            p += 2;
        }
    }
    g_assert_cmpuint(n, ==, CPU_BYTES);
}

/* A stream of that section alone. */
static GByteArray *stream_of(const uint8_t *section)
{
    static const uint8_t head[] = { 4, 0, 0, 0, 1, 3, 'c', 'p', 'u', 0, 0, 0, 0, 0, 0, 0, 12 };
    static const uint8_t end[] = { 0x7e, 0, 0, 0, 1, 0 };
    GByteArray *stream = g_byte_array_new();

    g_byte_array_append(stream, head, sizeof(head));
    g_byte_array_append(stream, section, CPU_BYTES);
    g_byte_array_append(stream, end, sizeof(end));
    return stream;
}

static bool load_section(Rig *rig, const uint8_t *section, GError **error)
{
    g_autoptr(GByteArray) stream = stream_of(section);

    return load(rig, stream->data, stream->len, error);
}

/* The bytes of section "cpu" in what WRITER has. */
static const uint8_t *find_section(VmWriter *w)
{
    static const uint8_t head[] = { 3, 'c', 'p', 'u', 0, 0, 0, 0, 0, 0, 0, 12 };
    size_t len;
    const uint8_t *bytes = vm_writer_bytes(w, &len);
    const uint8_t *p = memmem(bytes, len, head, sizeof(head));

    g_assert_nonnull(p);
    return p + sizeof(head);
}

static void test_qemu_section_comes_out_as_it_went_in(void)
{
    static const struct { unsigned at, len; } differ[] = {
        { AT_HFLAGS2, 4 },          /* IGNNE is of the board here */
        { AT_TSC, 8 },              /* which QEMU's TCG does not send */
        { AT_XSTATE, 8 },           /* likewise */
    };
    uint8_t section[CPU_BYTES], ours[CPU_BYTES];
    g_autoptr(GError) error = NULL;
    VmWriter *w;
    Rig rig;
    bool ok;

    rig_init(&rig, "qemu64");
    unpack(section);
    ok = load_section(&rig, section, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    g_assert_cmphex(rig.x->rip, ==, 0xffffffff9d3c3643);
    g_assert_cmphex(rig.x->cr3, ==, 0x6410000);
    g_assert_cmphex(rig.x->segs[SEG_GS].base, ==, 0xffff8f2f47a00000);
    g_assert_cmphex(rig.x->efer, ==, 0xd01);
    g_assert_cmphex(rig.x->msrs.smi_count, ==, 1);
    g_assert_true(x86_is_64(rig.x));
    w = save(&rig);
    /* The fields, up to the subsections: TCG's poll control is not ours. */
    memcpy(ours, find_section(w), CPU_BYTES);
    for (unsigned i = 0; i < ARRAY_LEN(differ); i++) {
        memset(ours + differ[i].at, 0, differ[i].len);
        memset(section + differ[i].at, 0, differ[i].len);
    }
    for (unsigned i = 0; i < AT_SUBSECTIONS; i++) {
        if (ours[i] != section[i]) {
            g_error("byte %u is 0x%02x, QEMU's was 0x%02x", i, ours[i], section[i]);
        }
    }
    vm_writer_free(w);
    rig_clear(&rig);
}

static void test_impossible_states_are_refused(void)
{
    static const struct { const char *word; unsigned at, len; uint64_t value; } rows[] = {
        { "CR0", AT_CR0, 8, 0x80000010 },              /* PG without PE */
        { "CR4", AT_CR4, 8, 1ull << 40 },
        { "EFER", AT_EFER, 8, 0x901 },                 /* LME and PG without LMA */
        { "MXCSR", AT_MXCSR, 4, 0xffff1f80 },
        { "LSTAR", AT_LSTAR, 8, 0x8000000000000000 },
        { "MCG_CAP", AT_MCG_CAP, 8, 0xff },
        { "XCR0", AT_XCR0, 8, 0x21f },
    };
    uint8_t section[CPU_BYTES];
    Rig rig;

    rig_init(&rig, "qemu64");
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(GError) error = NULL;

        unpack(section);
        for (unsigned k = 0; k < rows[i].len; k++) {
            section[rows[i].at + k] = rows[i].value >> (8 * (rows[i].len - 1 - k));
        }
        g_test_message("%s", rows[i].word);
        g_assert_false(load_section(&rig, section, &error));
        g_assert_nonnull(strstr(error->message, rows[i].word));
    }
    rig_clear(&rig);
}

/* Whatever arrives: an error or a state the CPU can hold; never a crash. */
static void test_random_bytes(void)
{
    uint8_t section[CPU_BYTES];
    Rig rig;

    rig_init(&rig, "max,-check");
    for (unsigned round = 0; round < 3000; round++) {
        g_autoptr(GError) error = NULL;
        unsigned flips = g_test_rand_int_range(1, 6);

        unpack(section);
        for (unsigned i = 0; i < flips; i++) {
            section[g_test_rand_int_range(0, CPU_BYTES)] = g_test_rand_int_range(0, 256);
        }
        if (load_section(&rig, section, &error)) {
            g_assert_null(error);
            g_assert_cmpuint(rig.x->cpl, <=, 3);
            vm_writer_free(save(&rig));
        } else {
            g_assert_nonnull(error);
        }
    }
    rig_clear(&rig);
}

/* ---- properties ---- */

static void test_features_are_properties(void)
{
    g_autoptr(GError) error = NULL, wrong = NULL, unknown = NULL;
    Rig rig;

    rig_init(&rig, "qemu64,-cx16,popcnt=on,+lahf_lm,family=6,level=0xb,vendor=GenuineIntel");
    g_assert_false(object_get_bool(OBJECT(rig.dev), "cx16"));
    g_assert_true(object_get_bool(OBJECT(rig.dev), "popcnt"));
    g_assert_true(object_get_bool(OBJECT(rig.dev), "lahf_lm"));
    g_assert_false(object_get_bool(OBJECT(rig.dev), "vmx"));
    g_assert_true(object_get_bool(OBJECT(rig.dev), "migratable"));
    g_assert_cmpuint(object_get_uint(OBJECT(rig.dev), "family"), ==, 6);
    g_assert_cmpuint(object_get_uint(OBJECT(rig.dev), "level"), ==, 0xb);
    g_assert_false(object_set_text(OBJECT(rig.dev), "popcnt", "off", &error));   /* realized */
    g_assert_nonnull(error);
    g_assert_null(x86_cpu_create(rig.vm, "qemu64,popcnt=maybe", 1, 1, &wrong));
    g_assert_nonnull(strstr(wrong->message, "popcnt"));
    g_assert_null(x86_cpu_create(rig.vm, "qemu64,popcmt=on", 1, 1, &unknown));
    g_assert_nonnull(strstr(unknown->message, "did you mean 'popcnt'"));
    rig_clear(&rig);
}

/* KVM sets the pace of the TSC, on each host another; the software engines keep it with the state. */
static void test_invariant_tsc_may_move_only_where_its_pace_is_kept(void)
{
    uint32_t can[FEAT_WORDS] = { [FEAT_1_EDX] = BIT(4), [FEAT_8000_0007_EDX] = BIT(8) }, words[FEAT_WORDS];
    Rig rig;

    rig_init(&rig, "max,-check");
    g_assert_true(object_get_bool(OBJECT(rig.dev), "invtsc") == simd_host_has(X86_FEAT_INVTSC));
    x86_cpu_model_wanted(rig.x, can, true, words);
    g_assert_cmpuint(words[FEAT_8000_0007_EDX], ==, BIT(8));
    x86_cpu_model_wanted(rig.x, can, false, words);
    g_assert_cmpuint(words[FEAT_8000_0007_EDX], ==, 0);
    rig_clear(&rig);
    rig_init(&rig, "max,-check,migratable=off");
    x86_cpu_model_wanted(rig.x, can, false, words);
    g_assert_cmpuint(words[FEAT_8000_0007_EDX], ==, BIT(8));
    rig_clear(&rig);
}

static uint32_t fake_khz;

static uint32_t khz_of_host(void *opaque)
{
    return fake_khz;
}

static void test_state_stays_at_its_tsc_pace(void)
{
    g_autoptr(GError) error = NULL;
    VmWriter *w;
    Rig rig;

    rig_init(&rig, "max,-check");
    rig.dev->bus.ops.tsc_khz = khz_of_host;
    rig.x->features[FEAT_8000_0007_EDX] |= BIT(8);
    fake_khz = 2600000;
    w = save(&rig);
    fake_khz = 2600600;                         /* as near as it can be measured */
    g_assert_true(load_writer(&rig, w, &error));
    g_assert_no_error(error);
    fake_khz = 3000000;
    g_assert_false(load_writer(&rig, w, &error));
    g_assert_nonnull(strstr(error->message, "2600000 kHz"));
    rig.x->features[FEAT_8000_0007_EDX] &= ~BIT(8);     /* nothing was promised */
    g_clear_error(&error);
    g_assert_true(load_writer(&rig, w, &error));
    vm_writer_free(w);
    rig_clear(&rig);
}

static void test_host_needs_an_accelerator(void)
{
    g_autoptr(GError) error = NULL;
    Rig rig;

    rig_init(&rig, "qemu64");
    g_assert_null(x86_cpu_create(rig.vm, "host", 1, 1, &error));
    g_assert_nonnull(strstr(error->message, "requires KVM"));
    rig_clear(&rig);
}

/* A combination in XCR0 that no guest could have set, though each component is there. */
static void test_xcr0_is_a_combination(void)
{
    static const struct { uint16_t xcr0; bool good; } values[] = {
        { 0xe7, true }, { 0x2e7, true }, { 0x207, true }, { 3, true }, { 1, true },
        { 0x27, false }, { 0x67, false }, { 0xc7, false }, { 0xe3, false }, { 0xe5, false }, { 0xe6, false }, { 5, false },
    };
    static const uint16_t features[] = { X86_FEAT_XSAVE, X86_FEAT_AVX, X86_FEAT_AVX512F, X86_FEAT_PKU };
    Rig rig;

    rig_init(&rig, "qemu64");
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        rig.x->features[features[i] / 32] |= BIT(features[i] % 32);
    }
    for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
        g_autoptr(GError) error = NULL;
        VmWriter *w;

        rig.x->xcr0 = values[i].xcr0;
        w = save(&rig);
        g_assert_cmpuint(load_writer(&rig, w, &error), ==, values[i].good);
        g_assert_true(values[i].good || strstr(error->message, "XCR0"));
        vm_writer_free(w);
    }
    rig_clear(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/vmstate/comes-back", test_state_comes_back);
    g_test_add_func("/x86/vmstate/waiting-and-halted", test_waiting_and_halted);
    g_test_add_func("/x86/vmstate/qemu", test_qemu_section_comes_out_as_it_went_in);
    g_test_add_func("/x86/vmstate/impossible", test_impossible_states_are_refused);
    g_test_add_func("/x86/vmstate/xcr0", test_xcr0_is_a_combination);
    g_test_add_func("/x86/vmstate/random", test_random_bytes);
    g_test_add_func("/x86/properties/features", test_features_are_properties);
    g_test_add_func("/x86/properties/invtsc", test_invariant_tsc_may_move_only_where_its_pace_is_kept);
    g_test_add_func("/x86/vmstate/tsc-pace", test_state_stays_at_its_tsc_pace);
    g_test_add_func("/x86/properties/host", test_host_needs_an_accelerator);
    return g_test_run();
}
