/* SPDX-License-Identifier: MIT */
/*
 * The decoder against Zydis: random bytes in 16-, 32- and 64-bit mode must be valid for both or
 * for none, equally long, and access as much memory.  RHEA_INSN_ROUNDS sets the number of strings per mode.
 *
 * Exceptions, each on purpose: what the tables do not have (XOP, 3DNow!, VMX, SVM, SGX, CET,
 * MPX, TSX, AMX, key locker and other extensions no model offers), and encodings on which CPUs of the
 * two vendors differ.
 */
#include <Zydis/Zydis.h>
#include <stdlib.h>

#include "target-x86/insn.h"

typedef struct Mode {
    const char *name;
    uint32_t bits;
    ZydisMachineMode machine;
    ZydisStackWidth stack;
} Mode;

static const Mode modes[] = {
    { "64", MODE_PE | MODE_LMA | MODE_CS64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
    { "32", MODE_PE | MODE_CS32 | MODE_SS32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32 },
    { "16", MODE_PE, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16 },
};

/* Known to Zydis, not in the tables: always #UD here. */
static bool is_absent_extension(const ZydisDecodedInstruction *zi)
{
    switch (zi->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_MVEX:
    case ZYDIS_INSTRUCTION_ENCODING_XOP:
    case ZYDIS_INSTRUCTION_ENCODING_3DNOW:
        return true;
    default:
        break;
    }
    switch (zi->meta.isa_set) {
    case ZYDIS_ISA_SET_I86: case ZYDIS_ISA_SET_I186:
    case ZYDIS_ISA_SET_I286REAL: case ZYDIS_ISA_SET_I286PROTECTED: case ZYDIS_ISA_SET_I386:
    case ZYDIS_ISA_SET_I486: case ZYDIS_ISA_SET_I486REAL: case ZYDIS_ISA_SET_PENTIUMREAL:
    case ZYDIS_ISA_SET_PENTIUMMMX: case ZYDIS_ISA_SET_PPRO: case ZYDIS_ISA_SET_CMOV:
    case ZYDIS_ISA_SET_FCMOV: case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_LONGMODE:
    case ZYDIS_ISA_SET_SSE: case ZYDIS_ISA_SET_SSE2: case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE4: case ZYDIS_ISA_SET_SSE42: case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_AVX: case ZYDIS_ISA_SET_AVX2: case ZYDIS_ISA_SET_AVX2GATHER:
    case ZYDIS_ISA_SET_FMA: case ZYDIS_ISA_SET_F16C: case ZYDIS_ISA_SET_BMI1:
    case ZYDIS_ISA_SET_BMI2: case ZYDIS_ISA_SET_AES: case ZYDIS_ISA_SET_AVXAES:
    case ZYDIS_ISA_SET_SHA: case ZYDIS_ISA_SET_MOVBE: case ZYDIS_ISA_SET_POPCNT:
    case ZYDIS_ISA_SET_LZCNT: case ZYDIS_ISA_SET_XSAVE: case ZYDIS_ISA_SET_XSAVEC:
    case ZYDIS_ISA_SET_XSAVES: case ZYDIS_ISA_SET_XSAVEOPT: case ZYDIS_ISA_SET_CMPXCHG16B:
    case ZYDIS_ISA_SET_FXSAVE: case ZYDIS_ISA_SET_FXSAVE64: case ZYDIS_ISA_SET_LAHF:
    case ZYDIS_ISA_SET_ADOX_ADCX: case ZYDIS_ISA_SET_PCLMULQDQ: case ZYDIS_ISA_SET_RDRAND:
    case ZYDIS_ISA_SET_RDSEED: case ZYDIS_ISA_SET_SSE2MMX: case ZYDIS_ISA_SET_SSSE3MMX:
    case ZYDIS_ISA_SET_SSEMXCSR: case ZYDIS_ISA_SET_SSE3X87: case ZYDIS_ISA_SET_INVPCID:
    case ZYDIS_ISA_SET_PKU: case ZYDIS_ISA_SET_RDTSCP: case ZYDIS_ISA_SET_SMAP:
    case ZYDIS_ISA_SET_FAT_NOP: case ZYDIS_ISA_SET_PAUSE: case ZYDIS_ISA_SET_RDPID:
    case ZYDIS_ISA_SET_RDPMC: case ZYDIS_ISA_SET_RDWRFSGS: case ZYDIS_ISA_SET_SERIALIZE:
    case ZYDIS_ISA_SET_MOVDIR: case ZYDIS_ISA_SET_CLFLUSHOPT: case ZYDIS_ISA_SET_CLFSH:
    case ZYDIS_ISA_SET_CLWB: case ZYDIS_ISA_SET_GFNI: case ZYDIS_ISA_SET_AVX_GFNI:
    case ZYDIS_ISA_SET_VAES: case ZYDIS_ISA_SET_VPCLMULQDQ: case ZYDIS_ISA_SET_SSE_PREFETCH:
    case ZYDIS_ISA_SET_AVX512BW_128: case ZYDIS_ISA_SET_AVX512BW_128N:
    case ZYDIS_ISA_SET_AVX512BW_256: case ZYDIS_ISA_SET_AVX512BW_512:
    case ZYDIS_ISA_SET_AVX512BW_KOP: case ZYDIS_ISA_SET_AVX512CD_128:
    case ZYDIS_ISA_SET_AVX512CD_256: case ZYDIS_ISA_SET_AVX512CD_512:
    case ZYDIS_ISA_SET_AVX512DQ_128: case ZYDIS_ISA_SET_AVX512DQ_128N:
    case ZYDIS_ISA_SET_AVX512DQ_256: case ZYDIS_ISA_SET_AVX512DQ_512:
    case ZYDIS_ISA_SET_AVX512DQ_KOP: case ZYDIS_ISA_SET_AVX512DQ_SCALAR:
    case ZYDIS_ISA_SET_AVX512F_128: case ZYDIS_ISA_SET_AVX512F_128N:
    case ZYDIS_ISA_SET_AVX512F_256: case ZYDIS_ISA_SET_AVX512F_512:
    case ZYDIS_ISA_SET_AVX512F_KOP: case ZYDIS_ISA_SET_AVX512F_SCALAR:
    case ZYDIS_ISA_SET_AVX512_BF16_128: case ZYDIS_ISA_SET_AVX512_BF16_256:
    case ZYDIS_ISA_SET_AVX512_BF16_512: case ZYDIS_ISA_SET_AVX512_BITALG_128:
    case ZYDIS_ISA_SET_AVX512_BITALG_256: case ZYDIS_ISA_SET_AVX512_BITALG_512:
    case ZYDIS_ISA_SET_AVX512_GFNI_128: case ZYDIS_ISA_SET_AVX512_GFNI_256:
    case ZYDIS_ISA_SET_AVX512_GFNI_512: case ZYDIS_ISA_SET_AVX512_IFMA_128:
    case ZYDIS_ISA_SET_AVX512_IFMA_256: case ZYDIS_ISA_SET_AVX512_IFMA_512:
    case ZYDIS_ISA_SET_AVX512_VAES_128: case ZYDIS_ISA_SET_AVX512_VAES_256:
    case ZYDIS_ISA_SET_AVX512_VAES_512: case ZYDIS_ISA_SET_AVX512_VBMI2_128:
    case ZYDIS_ISA_SET_AVX512_VBMI2_256: case ZYDIS_ISA_SET_AVX512_VBMI2_512:
    case ZYDIS_ISA_SET_AVX512_VBMI_128: case ZYDIS_ISA_SET_AVX512_VBMI_256:
    case ZYDIS_ISA_SET_AVX512_VBMI_512: case ZYDIS_ISA_SET_AVX512_VNNI_128:
    case ZYDIS_ISA_SET_AVX512_VNNI_256: case ZYDIS_ISA_SET_AVX512_VNNI_512:
    case ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_128: case ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_256:
    case ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_512: case ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_128:
    case ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_256: case ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512:
        return false;
    default:
        return true;
    }
}

/* Vendors or generations differ, or Zydis follows a manual that CPUs do not. */
static bool is_disputed(const ZydisDecodedInstruction *zi, const Insn *insn)
{
    unsigned map = insn->map, op = insn->opcode;

    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_NOP:            /* hint space taken by MPX, CET, CLDEMOTE ... */
    case ZYDIS_MNEMONIC_PREFETCHW: case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_UD0: case ZYDIS_MNEMONIC_UD1: case ZYDIS_MNEMONIC_MONITOR:
    case ZYDIS_MNEMONIC_SYSCALL: case ZYDIS_MNEMONIC_SYSRET: case ZYDIS_MNEMONIC_FSTPNCE:
        return true;
    default:
        /* MOV CRn/DRn: undefined numbers; C6/C7 /7: TSX. */
        return (map == MAP_0F && op >= 0x20 && op <= 0x23) ||
               (map == MAP_1BYTE && (op == 0xc6 || op == 0xc7));
    }
}

/* Bytes of memory the host would touch for what the translator re-emits. */
static unsigned memory_bytes(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY && ops[i].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
            return ops[i].size / 8;
        }
    }
    return 0;
}

/* The translator checks as many bytes as the row says: never fewer than the host touches. */
static bool size_is_right(const Insn *insn, const ZydisDecodedInstruction *zi,
                          const ZydisDecodedOperand *ops)
{
    unsigned size = 0;

    /* MOVSXD with a 16-bit operand: manuals differ, the translator leaves it to the interpreter. */
    if (!insn_has_mem(insn) || (insn->opcode == 0x63 && insn->op_size == 2) || (insn->def->attrs & (A_SYS | A_MULTI | A_NOMEM | A_CTRL | A_IO))) {
        return true;
    }
    for (unsigned n = 0; n < 4; n++) {
        size = insn->op[n].kind == OPK_MEM ? insn->op[n].size : size;
    }
    return size >= memory_bytes(zi, ops);
}

static void compare(const ZydisDecoder *decoder, const Mode *mode, const uint8_t *bytes,
                    unsigned len, unsigned *wrong)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    Insn insn;
    char text[128] = "(invalid)";
    bool theirs = ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, bytes, len, &zi, ops));
    DecodeResult result = insn_decode(&insn, bytes, len, mode->bits | MODE_AVX | MODE_AVX512 |
                                      MODE_OSXSAVE | MODE_OSFXSR | MODE_FSGSBASE, NULL);
    bool ours = result == DECODE_OK &&
                (insn.fault != VEC_UD ||
                 ((insn.def->attrs & A_UD) && !insn_is_locked(&insn)));

    if (theirs && (is_absent_extension(&zi) || is_disputed(&zi, &insn))) {
        return;
    }
    /* The hint space: MPX and others gave parts of it a meaning in which some forms are invalid. */
    if (ours && !theirs && g_str_equal(insn.def->name, "nop")) {
        return;
    }
    if (ours == theirs && (!ours || (insn.len == zi.length && size_is_right(&insn, &zi, ops)))) {
        return;
    }
    if ((*wrong)++ < 60) {
        g_autoptr(GString) hex = g_string_new(NULL);

        for (unsigned i = 0; i < len; i++) {
            g_string_append_printf(hex, "%02x ", bytes[i]);
        }
        if (result == DECODE_OK) {
            insn_format(&insn, 0, text, sizeof(text));
        }
        g_test_message("%s-bit %s: zydis %s %d, ours %s %d", mode->name, hex->str,
                       theirs ? ZydisMnemonicGetString(zi.mnemonic) : "invalid",
                       theirs ? zi.length : 0, ours ? text : "invalid", ours ? insn.len : 0);
    }
}

/* Mostly plausible bytes: prefixes are rare enough that opcodes are reached. */
static void fill(GRand *rand, uint8_t *bytes, unsigned len)
{
    static const uint8_t heads[] = { 0x66, 0xf2, 0xf3, 0x0f, 0x48, 0x41, 0xc4, 0xc5, 0x67, 0xf0 };
    unsigned at = 0;

    for (unsigned i = 0; i < len; i++) {
        bytes[i] = g_rand_int(rand);
    }
    while (at < 3 && g_rand_int_range(rand, 0, 3) == 0) {
        bytes[at++] = heads[g_rand_int_range(rand, 0, ARRAY_LEN(heads))];
    }
    if (g_rand_int_range(rand, 0, 3) == 0) {
        bytes[at] = 0x62;                           /* EVEX: most often as it has to be */
        bytes[at + 1] = (bytes[at + 1] & 0xf0) | g_rand_int_range(rand, 1, 4) | (g_rand_int_range(rand, 0, 20) ? 0 : bytes[at + 1]);
        bytes[at + 1] |= g_rand_int_range(rand, 0, 2) ? 0xf0 : 0;
        bytes[at + 2] |= (g_rand_int_range(rand, 0, 20) ? 4 : 0) | (g_rand_int_range(rand, 0, 2) ? 0x78 : 0);
        bytes[at + 3] |= g_rand_int_range(rand, 0, 2) ? 8 : 0;
        bytes[at + 3] &= g_rand_int_range(rand, 0, 2) ? 0x6f : 0xff;
    } else if (g_rand_int_range(rand, 0, 2)) {
        bytes[at++] = 0x0f;
        if (g_rand_int_range(rand, 0, 3) == 0) {
            bytes[at] = g_rand_int_range(rand, 0, 2) ? 0x38 : 0x3a;
        }
    }
}

static void test_against_zydis(void)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS");
    unsigned n = rounds ? atoi(rounds) : 200000, wrong = 0;
    GRand *rand = g_rand_new_with_seed(7);

    for (unsigned m = 0; m < ARRAY_LEN(modes); m++) {
        ZydisDecoder decoder;

        g_assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[m].machine, modes[m].stack)));
        for (unsigned i = 0; i < n; i++) {
            uint8_t bytes[INSN_MAX_LEN];

            fill(rand, bytes, sizeof(bytes));
            compare(&decoder, &modes[m], bytes, sizeof(bytes), &wrong);
        }
    }
    g_rand_free(rand);
    g_assert_cmpuint(wrong, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/insn/zydis", test_against_zydis);
    return g_test_run();
}
