/* SPDX-License-Identifier: MIT */
/*
 * The job of registers that must survive: all vector and x87 registers, their control words, general
 * registers and flags, across system calls, page faults, traps, interrupts, CPUID, REP,
 * and stores to code (load_state.S).  Where an emulator keeps the guest's registers in the host's,
 * these are the moments at which its own code may spoil them.
 */
#include "tests/boot/guest/load.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* load_state.S has the offsets. */
typedef struct State {
    uint8_t ymm[16][32];
    uint8_t st[8][16];                /* ten bytes each */
    uint64_t gpr[8];                  /* rbx rbp r8 r9 r10 r12 r13 r14 */
    uint64_t flags;
    uint32_t mxcsr, fcw;
    /* With AVX-512: the upper halves of ZMM0 to ZMM15 (0 in the last), ZMM16 to ZMM31, k0 to k7. */
    struct {
        uint8_t high[16][32];
        uint8_t zmm[16][64];
        uint64_t k[8];
    } wide;
} State;

enum { KINDS = 12, MEMORY = 32 * 4096, FLAGS_ARITH = 0x8d5 };

void state_run(const State *in, State *out, uint64_t kind, uint8_t *memory);

uint8_t state_wide;                   /* for load_state.S: this processor has AVX-512 */

static volatile sig_atomic_t traps;

static void on_trap(int number)
{
    __asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n\tvmovdqa %%xmm0, %%xmm9\n\tfninit\n\tfldpi"
                     ::: "xmm0", "xmm9");
    if (state_wide) {
        __asm__ volatile("vpternlogd $0xff, %zmm0, %zmm0, %zmm17\n\tvmovdqa64 %zmm17, %zmm3\n\tkxnorq %k2, %k2, %k2");
    }
    traps++;
}

static bool has_avx(void)
{
    return __builtin_cpu_supports("avx");
}

static void fill(State *s, uint64_t *seed)
{
    memset(s, 0, sizeof(*s));
    for (int i = 0; i < 16; i++) {
        for (int b = 0; b < 32; b++) {
            s->ymm[i][b] = (uint8_t)(next_random(seed) >> 17);
        }
    }
    for (int i = 0; i < 8; i++) {
        uint64_t mantissa = next_random(seed) | 1ull << 63;
        uint16_t exponent = (uint16_t)(16000 + next_random(seed) % 700);

        memcpy(s->st[i], &mantissa, 8);
        memcpy(s->st[i] + 8, &exponent, 2);
        s->gpr[i] = next_random(seed);
    }
    s->flags = 0x202 | (next_random(seed) & FLAGS_ARITH);
    if (state_wide) {
        for (size_t i = 0; i < sizeof(s->wide); i++) {
            ((uint8_t *)&s->wide)[i] = (uint8_t)(next_random(seed) >> 17);
        }
        memset(s->wide.high[15], 0, sizeof(s->wide.high[15]));
    }
    /* Rounding, flush to zero, denormals are zero, sticky flags; all exceptions masked. */
    s->mxcsr = 0x1f80 | (uint32_t)(next_random(seed) >> 9 & 0xe07f);
    s->fcw = 0x037f | (uint32_t)(next_random(seed) >> 9 & 3) << 10;
}

static void check(const State *in, State *out, int kind)
{
    out->flags = (out->flags & FLAGS_ARITH) | 0x202;
    if (!memcmp(in, out, sizeof(*in))) {
        return;
    }
    for (size_t i = 0; i < sizeof(*in); i++) {
        uint8_t want = ((const uint8_t *)in)[i], got = ((const uint8_t *)out)[i];

        if (want != got) {
            load_fail("kind %d: byte %zu of the state is %02x, not %02x", kind, i, got, want);
        }
    }
}

static uint64_t state_job(uint64_t seed)
{
    struct sigaction action = { .sa_handler = on_trap }, old;
    uint8_t *memory = load_map(MEMORY);
    uint64_t sum = 0;

    state_wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (mprotect(memory, MEMORY, PROT_READ | PROT_WRITE | PROT_EXEC)) {
        load_fail("mprotect: %s", strerror(errno));
    }
    sigaction(SIGTRAP, &action, &old);
    for (int i = 0; i < 30; i++) {
        int kind = (int)((next_random(&seed) >> 8) % KINDS);
        static State in, out;

        fill(&in, &seed);
        memset(&out, 0xee, sizeof(out));
        memcpy(out.st, in.st, sizeof(in.st));         /* for the bytes between */
        if (!state_wide) {
            memset(&out.wide, 0, sizeof(out.wide));
        }
        out.fcw = 0;                                  /* two bytes of it are stored */
        state_run(&in, &out, (uint64_t)kind, memory);
        check(&in, &out, kind);
        if (kind == 6 && *(uint32_t *)memory != (uint32_t)in.gpr[1]) {
            load_fail("the code that was written gave %08x", *(uint32_t *)memory);
        }
        if (i % 3 == 0 && madvise(memory, MEMORY, MADV_DONTNEED)) {
            load_fail("madvise: %s", strerror(errno));
        }
        sum = mix(sum, in.gpr[7] + (uint64_t)kind);
    }
    sigaction(SIGTRAP, &old, NULL);
    munmap(memory, MEMORY);
    return sum;
}

/* clang-format off */
const Job state_jobs[] = {
    { "state", state_job, has_avx },
    { 0 }
};
