/* SPDX-License-Identifier: MIT */
/*
 * The CPUID instruction.  Spec: [SDM2 CPUID], [APM3 E]; values without a spec (legacy cache
 * descriptions, hypervisor leaf) are those seen on QEMU 7.2.
 * Leaves beyond the highest one answer as the highest basic leaf, as Intel's do.
 * Missing: SVM (8000000AH), processor trace, SGX, AMX and Centaur leaves.
 * Locking: the vCPU's thread.
 */
#include "target-x86/cpuid_int.h"
#include "target-x86/fpu.h"

X86CpuidTable *x86_cpuid_table(X86Cpu *cpu)
{
    if (!cpu->cpuid) {
        cpu->cpuid = g_new0(X86CpuidTable, 1);
        *cpu->cpuid = (X86CpuidTable){
            .topology = { 1, 1, 1 }, .l3_cache = true, .leaf_b = true, .hypervisor_leaf = true,
            .hypervisor = "TCGTCGTCGTCG", .check = true, .auto_level = true,
            .migratable = true, .kvm = true,
        };
    }
    return cpu->cpuid;
}

static bool vendor_is_intel(const X86Cpu *cpu)
{
    return cpu->cpuid_vendor[0] == 0x756e6547;      /* "Genu" */
}

static bool vendor_is_amd(const X86Cpu *cpu)
{
    return cpu->cpuid_vendor[0] == 0x68747541;      /* "Auth" */
}

void x86_cpuid_set_topology(X86Cpu *cpu, const X86Topology *topology)
{
    X86CpuidTable *t = x86_cpuid_table(cpu);

    t->topology = *topology;
    /* Dies can only be told by leaf 1FH. */
    if (topology->dies_per_socket > 1 && vendor_is_intel(cpu) && t->auto_level) {
        cpu->cpuid_level = MAX(cpu->cpuid_level, 0x1f);
    }
}

/* ---- caches ---------------------------------------------------------------------------------- */

typedef struct Cache {
    uint8_t type;               /* 1 data, 2 code, 3 both; 0: none */
    uint8_t level;
    uint16_t ways, partitions;
    uint32_t sets;
    bool inclusive, complex_index, no_invd_sharing;
    bool needs_init;            /* not self-initializing */
} Cache;

/* L1D, L1I, L2, L3, all with 64-byte lines.  The legacy rows differ between Intel's and AMD's
 * leaves, as QEMU's always have. */
static const Cache caches[][4] = {
    [X86_CACHE_LEGACY] = { { 1, 1, 8, 1, 64, .no_invd_sharing = true },
                           { 2, 1, 8, 1, 64, .no_invd_sharing = true },
                           { 3, 2, 16, 1, 4096, .no_invd_sharing = true },
                           { 3, 3, 16, 1, 16384, true, true, false } },
    [X86_CACHE_EPYC] = { { 1, 1, 8, 1, 64, .no_invd_sharing = true },
                         { 2, 1, 4, 1, 256, .no_invd_sharing = true },
                         { 3, 2, 8, 1, 1024, .needs_init = true },
                         { 3, 3, 16, 1, 8192, true, true, false } },
    [X86_CACHE_ROME] = { { 1, 1, 8, 1, 64, .no_invd_sharing = true },
                         { 2, 1, 8, 1, 64, .no_invd_sharing = true },
                         { 3, 2, 8, 1, 1024, .needs_init = true },
                         { 3, 3, 16, 1, 16384, true, true, false } },
    [X86_CACHE_MILAN] = { { 1, 1, 8, 1, 64, .no_invd_sharing = true },
                          { 2, 1, 8, 1, 64, .no_invd_sharing = true },
                          { 3, 2, 8, 1, 1024, .needs_init = true },
                          { 3, 3, 16, 1, 32768, true, true, false } },
};
/* Leaves 80000005H and 80000006H: L1D, L1I, L2, L3. */
static const uint32_t amd_caches[][4] = {
    [X86_CACHE_LEGACY] = { 0x40020140, 0x40020140, 0x02008140, 0x00808140 },
    [X86_CACHE_EPYC] = { 0x20080140, 0x40040140, 0x02006140, 0x00408140 },
    [X86_CACHE_ROME] = { 0x20080140, 0x20080140, 0x02006140, 0x00808140 },
    [X86_CACHE_MILAN] = { 0x20080140, 0x20080140, 0x02006140, 0x01008140 },
};

static void cache_leaf(const Cache *c, unsigned sharing, uint32_t out[4])
{
    out[0] = c->type | c->level << 5 | (c->needs_init ? 0 : BIT(8)) | sharing << 14;
    out[1] = 63 | (c->partitions - 1) << 12 | (uint32_t)(c->ways - 1) << 22;
    out[2] = c->sets - 1;
    out[3] = c->no_invd_sharing | c->inclusive << 1 | c->complex_index << 2;
}

/* Bits an APIC id field for N things takes. */
static unsigned width(unsigned n)
{
    return n > 1 ? 32 - __builtin_clz(n - 1) : 0;
}

typedef struct Shape {
    unsigned threads, cores, dies, cpus;     /* cpus: a package */
    unsigned core_shift, die_shift, package_shift;
} Shape;

static Shape shape_of(const X86CpuidTable *t)
{
    Shape s = { MAX(t->topology.threads_per_core, 1), MAX(t->topology.cores_per_die, 1),
                MAX(t->topology.dies_per_socket, 1) };

    s.cpus = s.threads * s.cores * s.dies;
    s.core_shift = width(s.threads);
    s.die_shift = s.core_shift + width(s.cores);
    s.package_shift = s.die_shift + width(s.dies);
    return s;
}

/* ---- extended state --------------------------------------------------------------------------- */

/* What brings each component; its place is in xsave_components. */
static const struct { uint8_t bit; uint16_t feature; } components[] = {
    { 2, X86_FEAT_AVX },
    { 5, X86_FEAT(7_0_EBX, 16) },
    { 6, X86_FEAT(7_0_EBX, 16) },
    { 7, X86_FEAT(7_0_EBX, 16) },
    { 9, X86_FEAT_PKU },
};

uint64_t x86_xcr0_supported(const X86Cpu *cpu)
{
    uint64_t mask = XCR0_X87 | XCR0_SSE;

    if (!x86_has(cpu, X86_FEAT_XSAVE)) {
        return XCR0_X87;
    }
    for (unsigned i = 0; i < ARRAY_LEN(components); i++) {
        mask |= x86_has(cpu, components[i].feature) ? BIT(components[i].bit) : 0;
    }
    return mask;
}

/* [SDM1 13.3] */
bool x86_xcr0_is_valid(const X86Cpu *cpu, uint64_t value)
{
    uint64_t avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM, wanted = value & avx512;

    return (value & XCR0_X87) && !(value & ~x86_xcr0_supported(cpu)) && (!(value & XCR0_AVX) || (value & XCR0_SSE)) &&
           (!wanted || (wanted == avx512 && (value & XCR0_AVX)));
}

static void leaf_d(const X86Cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    uint64_t supported = x86_xcr0_supported(cpu);

    if (!x86_has(cpu, X86_FEAT_XSAVE)) {
        return;
    }
    if (subleaf == 0) {
        out[0] = (uint32_t)supported;
        out[1] = xsave_size(cpu->xcr0, false);
        out[2] = xsave_size(supported, false);
        out[3] = supported >> 32;
    } else if (subleaf == 1) {
        out[0] = cpu->features[FEAT_D_1_EAX];
        out[1] = xsave_size(cpu->xcr0 | cpu->msrs.xss, true);
    } else {
        for (unsigned i = 0; i < ARRAY_LEN(components); i++) {
            if (components[i].bit == subleaf && (supported >> subleaf & 1)) {
                out[0] = xsave_components[components[i].bit].size;
                out[1] = xsave_components[components[i].bit].offset;
            }
        }
    }
}

/* ---- leaves -------------------------------------------------------------------------------------- */

static void leaf_1(const X86Cpu *cpu, const Shape *s, uint32_t out[4])
{
    out[0] = cpu->cpuid_version;
    out[1] = cpu->apic_id << 24 | 8 << 8;      /* CLFLUSH line: 64 bytes */
    out[2] = cpu->features[FEAT_1_ECX] | (cpu->cr4 & CR4_OSXSAVE ? BIT(27) : 0);
    out[3] = cpu->features[FEAT_1_EDX];
    if (s->cores * s->threads > 1) {
        out[1] |= s->cores * s->threads << 16;
        out[3] |= BIT(28);
    }
    if (!(cpu->msrs.apicbase & BIT(11))) {
        out[3] &= ~BIT(9);
    }
}

static void leaf_4(const X86Cpu *cpu, const Shape *s, uint32_t subleaf, uint32_t out[4])
{
    const X86CpuidTable *t = cpu->cpuid;
    unsigned sharing[4] = { 0, 0, s->threads - 1, (1u << s->die_shift) - 1 };

    if (vendor_is_amd(cpu) || subleaf > (t->l3_cache ? 3 : 2)) {
        return;
    }
    cache_leaf(&caches[t->cache][subleaf], sharing[subleaf], out);
    out[0] |= (s->cores - 1) << 26;
}

static void leaf_b(const X86Cpu *cpu, const Shape *s, uint32_t subleaf, uint32_t out[4])
{
    out[2] = subleaf & 0xff;
    out[3] = cpu->apic_id;
    if (subleaf == 0) {
        out[0] = s->core_shift;
        out[1] = s->threads;
        out[2] |= 1 << 8;
    } else if (subleaf == 1) {
        out[0] = s->package_shift;
        out[1] = s->cores * s->threads;
        out[2] |= 2 << 8;
    }
}

static void leaf_1f(const X86Cpu *cpu, const Shape *s, uint32_t subleaf, uint32_t out[4])
{
    if (s->dies < 2) {
        return;
    }
    leaf_b(cpu, s, subleaf, out);
    if (subleaf == 1) {
        out[0] = s->die_shift;
    } else if (subleaf == 2) {
        out[0] = s->package_shift;
        out[1] = s->cpus;
        out[2] |= 5 << 8;
    }
}

static void leaf_7(const X86Cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    if (subleaf == 0) {
        out[0] = cpu->features[FEAT_7_1_EAX] != 0;
        out[1] = cpu->features[FEAT_7_0_EBX];
        out[2] = cpu->features[FEAT_7_0_ECX] | (cpu->cr4 & CR4_PKE ? BIT(4) : 0);
        out[3] = cpu->features[FEAT_7_0_EDX];
    } else if (subleaf == 1) {
        out[0] = cpu->features[FEAT_7_1_EAX];
    }
}

static void basic(const X86Cpu *cpu, const Shape *s, uint32_t leaf, uint32_t subleaf,
                  uint32_t out[4])
{
    const X86CpuidTable *t = cpu->cpuid;

    switch (leaf) {
    case 0:
        out[0] = cpu->cpuid_level;
        out[1] = cpu->cpuid_vendor[0];
        out[3] = cpu->cpuid_vendor[1];
        out[2] = cpu->cpuid_vendor[2];
        break;
    case 1:
        leaf_1(cpu, s, out);
        break;
    case 2:
        if (!vendor_is_amd(cpu)) {
            out[0] = 1;
            out[2] = !t->l3_cache ? 0 : t->cache == X86_CACHE_LEGACY ? 0x4d : 0x4b;
            out[3] = t->cache == X86_CACHE_LEGACY ? 0x2c307d : 0x2cff80;
        }
        break;
    case 4:
        leaf_4(cpu, s, subleaf, out);
        break;
    case 5:
        out[2] = 3;             /* MONITOR extensions enumerated, interrupts break out */
        break;
    case 6:
        out[0] = cpu->features[FEAT_6_EAX];
        break;
    case 7:
        leaf_7(cpu, subleaf, out);
        break;
    case 0xb:
        if (t->leaf_b) {
            leaf_b(cpu, s, subleaf, out);
        }
        break;
    case 0xd:
        leaf_d(cpu, subleaf, out);
        break;
    case 0x1f:
        leaf_1f(cpu, s, subleaf, out);
        break;
    }
}

static void leaf_8000001d(const X86Cpu *cpu, const Shape *s, uint32_t subleaf, uint32_t out[4])
{
    const X86CpuidTable *t = cpu->cpuid;
    unsigned inner = s->threads - 1;
    unsigned sharing[4] = { inner, inner, inner, s->cores * s->threads - 1 };

    if (subleaf <= (t->l3_cache ? 3 : 2)) {
        cache_leaf(&caches[t->cache][subleaf], sharing[subleaf], out);
    }
}

static void extended(const X86Cpu *cpu, const Shape *s, uint32_t leaf, uint32_t subleaf,
                     uint32_t out[4])
{
    const X86CpuidTable *t = cpu->cpuid;
    unsigned cpus = s->cores * s->threads;

    switch (leaf) {
    case 0x80000000:
        out[0] = cpu->cpuid_xlevel;
        out[1] = cpu->cpuid_vendor[0];
        out[3] = cpu->cpuid_vendor[1];
        out[2] = cpu->cpuid_vendor[2];
        break;
    case 0x80000001:
        out[0] = cpu->cpuid_version;
        out[2] = cpu->features[FEAT_8000_0001_ECX];
        out[3] = cpu->features[FEAT_8000_0001_EDX];
        if (vendor_is_amd(cpu)) {
            out[3] |= cpu->features[FEAT_1_EDX] & 0x0183f3ff;
        }
        if (cpus > 1 && !vendor_is_intel(cpu)) {
            out[2] |= BIT(1);   /* CmpLegacy */
        }
        break;
    case 0x80000002 ... 0x80000004:
        memcpy(out, &cpu->cpuid_model[(leaf - 0x80000002) * 4], 16);
        break;
    case 0x80000005:
        out[0] = out[1] = 0x01ff01ff;
        out[2] = amd_caches[t->cache][0];
        out[3] = amd_caches[t->cache][1];
        break;
    case 0x80000006:
        out[1] = 0x42004200;
        out[2] = amd_caches[t->cache][2];
        out[3] = t->l3_cache ? amd_caches[t->cache][3] : 0;
        break;
    case 0x80000007:
        out[3] = cpu->features[FEAT_8000_0007_EDX];
        break;
    case 0x80000008:
        out[0] = cpu->phys_bits | (x86_has(cpu, X86_FEAT_LM) ? cpu->virt_bits << 8 : 0);
        out[1] = cpu->features[FEAT_8000_0008_EBX];
        out[2] = cpus > 1 ? (cpus - 1) | s->package_shift << 12 : 0;
        break;
    case 0x8000001d:
        leaf_8000001d(cpu, s, subleaf, out);
        break;
    case 0x8000001e:
        out[0] = cpu->apic_id;
        out[1] = (s->threads - 1) << 8 | (cpu->apic_id >> s->core_shift &
                                         ((1u << (s->die_shift - s->core_shift)) - 1));
        out[2] = (s->dies - 1) << 8 | (cpu->apic_id >> s->die_shift &
                                       ((1u << (s->package_shift - s->die_shift)) - 1));
        break;
    }
}

void x86_cpuid(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const X86CpuidTable *t = x86_cpuid_table(cpu);
    Shape s = shape_of(t);

    memset(out, 0, 4 * sizeof(out[0]));
    if (leaf >> 8 == 0x400000 && t->hypervisor_leaf) {
        if (leaf == 0x40000000) {
            out[0] = 0x40000001;
            memcpy(&out[1], t->hypervisor, 12);
        }
        return;
    }
    if (leaf >= 0x80000000 ? leaf > cpu->cpuid_xlevel : leaf > cpu->cpuid_level) {
        leaf = cpu->cpuid_level;
    }
    if (leaf & BIT(31)) {
        extended(cpu, &s, leaf, subleaf, out);
    } else {
        basic(cpu, &s, leaf, subleaf, out);
    }
}
