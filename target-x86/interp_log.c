/* SPDX-License-Identifier: MIT */
/*
 * What the interpreter writes for -d in_asm, exec and cpu, in the shape of QEMU's log.
 * The text of registers is the CPU device's (vm/cpu.h); a bare CPU in a test has none.
 */
#include "base/log.h"
#include "target-x86/interp_int.h"
#include "vm/cpu.h"

/* A block as it was decoded; the bytes are decoded again, for the interpreter has adapted its own
 * copy of the instructions. */
void interp_log_code(X86Cpu *cpu, uint64_t rip, const uint8_t *bytes, unsigned len)
{
    uint64_t linear = cpu->segs[SEG_CS].base + rip;
    FILE *f;

    if (!log_enabled(LOG_IN_ASM) || !log_filter_wants(linear)) {
        return;
    }
    f = log_lock();
    fprintf(f, "----------------\nIN: \n");
    for (unsigned off = 0; off < len;) {
        char text[128];
        Insn insn;
        DecodeResult result = insn_decode(&insn, bytes + off, len - off, cpu->mode, cpu);

        fprintf(f, "0x%08" PRIx64 ":  ", linear + off);
        for (unsigned i = 0; i < MAX(insn.len, 8); i++) {
            fprintf(f, i < insn.len ? "%02x " : "   ", bytes[MIN(off + i, len - 1)]);
        }
        fprintf(f, " %s\n",
                result == DECODE_OK ? insn_format(&insn, rip + off, text, sizeof(text))
                                    : "(invalid)");
        if (result != DECODE_OK || !insn.len) {
            break;
        }
        off += insn.len;
    }
    fputc('\n', f);
    log_unlock();
}

/* Before a block runs. */
void interp_log_run(X86Cpu *cpu)
{
    if (!log_filter_wants(cpu->segs[SEG_CS].base + cpu->rip)) {
        return;
    }
    log_mask(LOG_EXEC, "Trace %u: [%016" PRIx64 "/%016" PRIx64 "/%08x]\n", cpu->index,
             cpu->segs[SEG_CS].base, cpu->segs[SEG_CS].base + cpu->rip, cpu->mode);
    if (log_enabled(LOG_CPU) && cpu->vm_cpu) {
        g_autoptr(GString) text = g_string_new(NULL);

        cpu_class(cpu->vm_cpu)->dump(cpu->vm_cpu, text);
        log_mask(LOG_CPU, "%s", text->str);
    }
}
