/* SPDX-License-Identifier: MIT */
/*
 * The instruction tables as data: every row of insn/map_*.def in one array, sorted by map and
 * opcode as the files are.  decode.c indexes it.  Constant after load; any thread.
 */
#include "target-x86/insn.h"

/* The letters of the effects and modes columns. */
enum { CF = FX_CF, PF = FX_PF, AF = FX_AF, ZF = FX_ZF, SF = FX_SF, OF = FX_OF, DF = FX_DF,
       ARITH = FX_ARITH };
#define R(f) FX_R(f)
#define W(f) FX_W(f)
#define C(f) FX_C(f)
#define U(f) FX_U(f)

/* The semantic functions; sem.h has the same for their files. */
#define INSN(o, m, n, s, d, a, b, c, mo, fe, fx, at) \
    void sem_##s(X86Cpu *cpu, const Insn *insn);
#include "target-x86/insn/map_all.def"
#undef INSN

#define INSN(o, m, n, s, d, a, b, c, mo, fe, fx, at)                                       \
    { .name = #n, .sem = sem_##s, .attrs = (at), .match = (m), .effects = (fx),            \
      .opnd = { OPND_##d, OPND_##a, OPND_##b, OPND_##c }, .feature = X86_FEAT_##fe,        \
      .op = (o), .map = THIS_MAP, .modes = MODES_##mo },

const InsnDef insn_rows[] = {
#define THIS_MAP MAP_1BYTE
#include "target-x86/insn/map_1byte.def"
#include "target-x86/insn/map_x87.def"
#undef THIS_MAP
#define THIS_MAP MAP_0F
#include "target-x86/insn/map_0f.def"
#include "target-x86/insn/map_0f_simd.def"
#undef THIS_MAP
#define THIS_MAP MAP_0F38
#include "target-x86/insn/map_0f38.def"
#undef THIS_MAP
#define THIS_MAP MAP_0F3A
#include "target-x86/insn/map_0f3a.def"
#undef THIS_MAP
#define THIS_MAP MAP_VEX0F
#include "target-x86/insn/map_vex0f.def"
#undef THIS_MAP
#define THIS_MAP MAP_VEX0F38
#include "target-x86/insn/map_vex0f38.def"
#undef THIS_MAP
#define THIS_MAP MAP_VEX0F3A
#include "target-x86/insn/map_vex0f3a.def"
#undef THIS_MAP
#define THIS_MAP MAP_EVEX0F
#include "target-x86/insn/map_evex0f.def"
#undef THIS_MAP
#define THIS_MAP MAP_EVEX0F38
#include "target-x86/insn/map_evex0f38.def"
#undef THIS_MAP
#define THIS_MAP MAP_EVEX0F3A
#include "target-x86/insn/map_evex0f3a.def"
#undef THIS_MAP
};
const unsigned insn_row_count = ARRAY_LEN(insn_rows);
