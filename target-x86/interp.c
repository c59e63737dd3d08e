/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's loop and its cache of decoded blocks.  See interp.h.
 *
 * Blocks are straight runs of at most INTERP_BLOCK_MAX instructions within one page, keyed by
 * (physical address, rip, mode word).  An instruction that crosses a page is a block of its own
 * that remembers both pages.  A jump cache in front is keyed by rip and valid for one TLB generation.
 *
 * Invariants: (1) bytes are compared again after the page is marked as code, so that a store
 * between reading and marking is noticed; (2) a dead block is never entered, and one that dies while it
 * runs is left after the storing instruction (cpu->stop); (3) blocks are freed by the owner only, between
 * blocks.
 * Locking: `lock` guards pages[]; it nests inside the code map's lock.
 */
#include "target-x86/interp.h"

#include "base/log.h"
#include "target-x86/bus.h"
#include "target-x86/code.h"
#include "target-x86/debug.h"
#include "target-x86/interp_int.h"

#define HASH_BITS 15
#define JUMP_BITS 12
#define ARENA_CHUNK (1u << 20)
#define ARENA_CHUNKS_MAX 64

typedef struct Block Block;
struct Block {
    uint64_t rip, gpa;
    uint64_t gpa2;              /* second page of a crossing instruction, or 0 */
    uint32_t mode;
    uint16_t count, bytes;
    _Atomic bool dead;
    Block *hash_next;
    Insn insns[];               /* count + 1: the last one leaves the block */
};

typedef struct JumpEntry {
    uint64_t rip;
    uint32_t mode, gen;
    Block *block;
} JumpEntry;

typedef struct X86Interp X86Interp;
struct X86Interp {
    X86Cpu *cpu;
    JumpEntry jump[1 << JUMP_BITS];
    Block *hash[1 << HASH_BITS];
    Block *current;             /* being run, for the instruction count */
    GMutex lock;
    GHashTable *pages;          /* page number -> GPtrArray of Block */
    uint8_t *chunks[ARENA_CHUNKS_MAX];
    unsigned chunk_count;
    size_t chunk_used;
    bool own_code_map;
    union {                     /* single steps, code in MMIO */
        Block block;
        uint8_t room[sizeof(Block) + 2 * sizeof(Insn)];
    } scratch;
};

/* ---- handlers every block uses ------------------------------------------------------------------ */

static inline void begin(X86Cpu *cpu, const Insn *insn)
{
    cpu->rip = (cpu->block_rip + insn->off) & cpu->lin_mask;
    cpu->next_rip = (cpu->rip + insn->len) & cpu->lin_mask;
    cpu->insn = insn;
}

/* Out of the middle of a block: the rest was counted but not run. */
static void leave_early(X86Cpu *cpu, const Insn *insn)
{
    const Block *block = cpu->interp->current;

    cpu->insn_count -= block->count - 1 - (insn - block->insns);
    if (cpu->next_rip == cpu->rip && (insn->def->attrs & A_MULTI)) {
        cpu->insn_count--;      /* comes again */
    }
    cpu->rip = cpu->next_rip;
}

void interp_run_sem(X86Cpu *cpu, const Insn *insn)
{
    uint64_t expected;

    begin(cpu, insn);
    expected = cpu->next_rip;
    insn->sem(cpu, insn);
    if (G_UNLIKELY(cpu->next_rip != expected || cpu->stop || (insn->def->attrs & A_END))) {
        leave_early(cpu, insn);
        return;
    }
    interp_next(cpu, insn);
}

static void run_fault(X86Cpu *cpu, const Insn *insn)
{
    begin(cpu, insn);
    cpu_raise(cpu, insn->fault, 0);
}

/* After the last instruction of a block that does not end in a branch. */
static void run_end(X86Cpu *cpu, const Insn *insn)
{
    cpu->rip = (cpu->block_rip + insn->off) & cpu->lin_mask;
}

/* ---- blocks ---------------------------------------------------------------------------------------- */

static unsigned hash_slot(uint64_t gpa, uint64_t rip, uint32_t mode)
{
    uint64_t key = gpa * 0x9e3779b97f4a7c15ull ^ rip * 0xc2b2ae3d27d4eb4full ^ mode;

    return key * 0x9e3779b97f4a7c15ull >> (64 - HASH_BITS);
}

static JumpEntry *jump_slot(X86Interp *it, uint64_t rip)
{
    return &it->jump[(rip ^ rip >> JUMP_BITS) & ((1u << JUMP_BITS) - 1)];
}

static void drop_blocks(X86Interp *it)
{
    g_mutex_lock(&it->lock);
    g_hash_table_remove_all(it->pages);
    g_mutex_unlock(&it->lock);
    memset(it->jump, 0, sizeof(it->jump));
    memset(it->hash, 0, sizeof(it->hash));
    while (it->chunk_count) {
        g_free(it->chunks[--it->chunk_count]);
    }
    it->chunk_used = ARENA_CHUNK;
}

static Block *block_alloc(X86Interp *it, unsigned insns)
{
    size_t size = align_up(sizeof(Block) + (insns + 1) * sizeof(Insn), 64);
    Block *block;

    if (it->chunk_used + size > ARENA_CHUNK) {
        if (it->chunk_count == ARENA_CHUNKS_MAX) {
            drop_blocks(it);
        }
        it->chunks[it->chunk_count++] = g_malloc(ARENA_CHUNK);
        it->chunk_used = 0;
    }
    block = (Block *)(it->chunks[it->chunk_count - 1] + it->chunk_used);
    it->chunk_used += size;
    memset(block, 0, sizeof(*block));
    return block;
}

static void page_list_add(X86Interp *it, uint64_t gpa, Block *block)
{
    gpointer key = GSIZE_TO_POINTER(gpa >> 12);
    GPtrArray *list = g_hash_table_lookup(it->pages, key);

    if (!list) {
        list = g_ptr_array_new();
        g_hash_table_insert(it->pages, key, list);
    }
    g_ptr_array_add(list, block);
}

static bool overlaps(const Block *block, uint64_t gpa, unsigned len)
{
    unsigned first = 4096 - (block->gpa & 4095);
    unsigned in_first = MIN(block->bytes, first);

    return (block->gpa < gpa + len && gpa < block->gpa + in_first) ||
           (block->gpa2 && block->gpa2 < gpa + len && gpa < block->gpa2 + block->bytes - in_first);
}

/* CodeRetire: any thread. */
static void retire(void *opaque, uint64_t gpa, unsigned len)
{
    X86Interp *it = opaque;
    GPtrArray *list;

    g_mutex_lock(&it->lock);
    list = g_hash_table_lookup(it->pages, GSIZE_TO_POINTER(gpa >> 12));
    for (unsigned i = list ? list->len : 0; i-- > 0;) {
        Block *block = g_ptr_array_index(list, i);

        if (overlaps(block, gpa, len)) {
            atomic_store(&block->dead, true);
            g_ptr_array_remove_index_fast(list, i);
            __atomic_store_n(&it->cpu->stop, 1, __ATOMIC_RELAXED);
        }
    }
    g_mutex_unlock(&it->lock);
}

/* What the interpreter wants to know of an instruction in a block. */
static void prepare(X86Cpu *cpu, Insn *insn, unsigned off, uint64_t rip)
{
    bool cs64 = cpu->mode & MODE_CS64;
    unsigned seg = cs64 && insn->seg >= SEG_FS ? insn->seg : SEG_FLAT;
    uint64_t next = rip + off + insn->len;
    RunFn *fast;

    insn->off = off;
    insn->seg_off = offsetof(X86Cpu, segs) + seg * sizeof(X86Seg) + offsetof(X86Seg, base);
    if (insn->fault != FAULT_NONE) {
        insn->run = run_fault;
        return;
    }
    if (insn->base == R_RIP) {
        insn->base = R_ZERO;
        insn->disp += next;
    }
    fast = interp_pick_fast(insn, cpu->mode);
    if (insn->def->attrs & A_BRANCH) {
        insn->disp = (next + insn->imm) & cpu->lin_mask;
        if ((uint64_t)((insn->disp >> 47) + 1) > 1) {
            fast = NULL;        /* raises #GP, unless paging has 5 levels */
        }
    }
    insn->run = fast ? fast : interp_run_sem;
}

static void set_terminator(Insn *insn, unsigned off)
{
    memset(insn, 0, sizeof(*insn));
    insn->run = run_end;
    insn->off = off;
}

/* A decoding failure as an instruction that raises. */
static void set_invalid(Insn *insn, DecodeResult result)
{
    insn->fault = result == DECODE_TOO_LONG ? VEC_GP : VEC_UD;
}

static bool is_block_end(const Insn *insn)
{
    return insn->fault != FAULT_NONE || (insn->def->attrs & A_END);
}

/* The last byte of an instruction must lie within CS. */
static bool within_cs(const X86Cpu *cpu, uint64_t rip, unsigned len)
{
    return (cpu->mode & MODE_FLAT_CS) || rip + len - 1 <= cpu->segs[SEG_CS].limit;
}

static uint64_t linear_rip(X86Cpu *cpu, uint64_t rip)
{
    if (cpu->mode & MODE_CS64) {
        if (!x86_is_canonical(cpu, rip)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        return rip;
    }
    if (!within_cs(cpu, rip, 1)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return (uint32_t)(rip + cpu->segs[SEG_CS].base);
}

/* The bytes at `va` across two pages; *gpa2 is the second page. May raise. */
static unsigned fetch_crossing(X86Cpu *cpu, uint64_t va, const uint8_t *first, unsigned avail,
                               uint8_t *bytes, uint64_t *gpa2)
{
    const uint8_t *host;
    uint64_t next = (va + avail) & (cpu->mode & MODE_CS64 ? ~0ull : 0xffffffff);

    memcpy(bytes, first, avail);
    *gpa2 = x86_fetch_page(cpu, next, &host);
    for (unsigned i = avail; i < INSN_MAX_LEN; i++) {
        bytes[i] = host ? host[i - avail]
                        : cpu->bus->mmio_read(cpu->bus_opaque, *gpa2 + i - avail, 1);
    }
    return INSN_MAX_LEN;
}

/* One instruction into the scratch block, not cached: code outside RAM. */
static Block *build_scratch(X86Cpu *cpu, uint64_t rip, uint64_t va, uint64_t gpa)
{
    Block *block = &cpu->interp->scratch.block;
    uint8_t bytes[INSN_MAX_LEN];
    unsigned avail = MIN(INSN_MAX_LEN, 4096 - (gpa & 4095));
    DecodeResult result;
    uint64_t gpa2;

    for (unsigned i = 0; i < avail; i++) {
        bytes[i] = cpu->bus->mmio_read(cpu->bus_opaque, gpa + i, 1);
    }
    result = insn_decode(&block->insns[0], bytes, avail, cpu->mode, cpu);
    if (result == DECODE_TRUNCATED) {
        fetch_crossing(cpu, va, bytes, avail, bytes, &gpa2);
        result = insn_decode(&block->insns[0], bytes, INSN_MAX_LEN, cpu->mode, cpu);
    }
    if (result != DECODE_OK) {
        set_invalid(&block->insns[0], result);
    } else if (!within_cs(cpu, rip, block->insns[0].len)) {
        block->insns[0].fault = VEC_GP;
    }
    prepare(cpu, &block->insns[0], 0, rip);
    set_terminator(&block->insns[1], block->insns[0].len);
    block->count = 1;
    return block;
}

/* Decode up to INTERP_BLOCK_MAX instructions of one page; at least one. */
static unsigned decode_run(X86Cpu *cpu, Insn *insns, const uint8_t *bytes, unsigned avail,
                           uint64_t rip, unsigned *len, DecodeResult *first)
{
    unsigned n = 0, off = 0;

    while (n < INTERP_BLOCK_MAX) {
        Insn *insn = &insns[n];
        DecodeResult result = insn_decode(insn, bytes + off, avail - off, cpu->mode, cpu);

        if (n == 0) {
            *first = result;
        }
        if (result == DECODE_TRUNCATED) {
            break;
        }
        if (!within_cs(cpu, rip + off, insn->len)) {
            if (n) {
                break;
            }
            insn->fault = VEC_GP;
        } else if (result != DECODE_OK) {
            set_invalid(insn, result);
        }
        prepare(cpu, insn, off, rip);
        off += insn->len;
        n++;
        if (is_block_end(insn) || off >= avail) {
            break;
        }
    }
    *len = off;
    return n;
}

static Block *block_insert(X86Cpu *cpu, const Insn *insns, unsigned n, uint64_t rip, uint64_t gpa,
                           uint64_t gpa2, unsigned len)
{
    X86Interp *it = cpu->interp;
    Block *block = block_alloc(it, n);
    unsigned slot = hash_slot(gpa, rip, cpu->mode);
    unsigned in_first = MIN(len, 4096 - (gpa & 4095));

    block->rip = rip;
    block->gpa = gpa;
    block->gpa2 = gpa2;
    block->mode = cpu->mode;
    block->count = n;
    block->bytes = len;
    memcpy(block->insns, insns, n * sizeof(Insn));
    set_terminator(&block->insns[n], len);
    block->hash_next = it->hash[slot];
    it->hash[slot] = block;
    g_mutex_lock(&it->lock);
    page_list_add(it, gpa, block);
    if (gpa2) {
        page_list_add(it, gpa2, block);
    }
    g_mutex_unlock(&it->lock);
    code_map_add(cpu->code, gpa, in_first);
    if (gpa2 && len > in_first) {
        code_map_add(cpu->code, gpa2, len - in_first);
    }
    return block;
}

static Block *build(X86Cpu *cpu, uint64_t rip, uint64_t va, uint64_t gpa, const uint8_t *host)
{
    Insn insns[INTERP_BLOCK_MAX];
    uint8_t bytes[INTERP_BLOCK_MAX * INSN_MAX_LEN];
    unsigned avail = MIN(sizeof(bytes), 4096 - (gpa & 4095)), len, n;
    uint64_t gpa2 = 0;
    DecodeResult first;
    Block *block;

    for (;;) {
        memcpy(bytes, host, avail);
        n = decode_run(cpu, insns, bytes, avail, rip, &len, &first);
        if (n == 0) {
            unsigned have = fetch_crossing(cpu, va, bytes, avail, bytes, &gpa2);

            n = decode_run(cpu, insns, bytes, have, rip, &len, &first);
            n = 1;
            len = insns[0].len;
        }
        block = block_insert(cpu, insns, n, rip, gpa, gpa2, len);
        if (!memcmp(bytes, host, MIN(len, 4096 - (gpa & 4095)))) {
            interp_log_code(cpu, rip, bytes, len);
            return block;
        }
        atomic_store(&block->dead, true);
    }
}

static bool second_page_same(X86Cpu *cpu, const Block *block, uint64_t va)
{
    const uint8_t *host;
    uint64_t next = ((va | 4095) + 1) & (cpu->mode & MODE_CS64 ? ~0ull : 0xffffffff);

    return !block->gpa2 || x86_fetch_page(cpu, next, &host) == block->gpa2;
}

static Block *find_slow(X86Cpu *cpu)
{
    X86Interp *it = cpu->interp;
    uint64_t rip = cpu->rip, va = linear_rip(cpu, rip), gpa;
    JumpEntry *entry = jump_slot(it, rip);
    const uint8_t *host;
    Block *block, **at;

    gpa = x86_fetch_page(cpu, va, &host);
    if (!host) {
        return build_scratch(cpu, rip, va, gpa);
    }
    /* Code that is written again and again leaves one dead block each time: they go as they are
     * met.  Nobody but this thread looks at the chains. */
    for (at = &it->hash[hash_slot(gpa, rip, cpu->mode)]; (block = *at) != NULL;) {
        if (atomic_load(&block->dead)) {
            *at = block->hash_next;
            continue;
        }
        if (block->gpa == gpa && block->rip == rip && block->mode == cpu->mode &&
            within_cs(cpu, rip, block->bytes) && second_page_same(cpu, block, va)) {
            break;
        }
        at = &block->hash_next;
    }
    if (!block) {
        block = build(cpu, rip, va, gpa, host);
    }
    if (cpu->mode & MODE_FLAT_CS) {
        *entry = (JumpEntry){ rip, cpu->mode, cpu->tlb_gen, block };
    }
    return block;
}

static inline Block *find(X86Cpu *cpu)
{
    JumpEntry *entry = jump_slot(cpu->interp, cpu->rip);

    if (G_LIKELY(entry->rip == cpu->rip && entry->mode == cpu->mode &&
                 entry->gen == cpu->tlb_gen && entry->block &&
                 !atomic_load_explicit(&entry->block->dead, memory_order_relaxed))) {
        return entry->block;
    }
    return find_slow(cpu);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static inline void run_block(X86Cpu *cpu, Block *block)
{
    cpu->interp->current = block;
    cpu->insn_count += block->count;
    cpu->block_rip = cpu->rip;
    block->insns[0].run(cpu, block->insns);
    cpu->interp->current = NULL;
}

/* The instruction at rip alone. */
static void run_one(X86Cpu *cpu)
{
    Block *block = find(cpu), *scratch = &cpu->interp->scratch.block;

    if (block != scratch) {
        scratch->insns[0] = block->insns[0];
        set_terminator(&scratch->insns[1], block->insns[0].len);
        scratch->count = 1;
    }
    run_block(cpu, scratch);
}

/* One instruction with everything that single-stepping, breakpoints and RF ask for. */
void interp_run_careful(X86Cpu *cpu)
{
    bool tf = cpu->eflags & FLAG_TF, held;

    x86_debug_before(cpu);
    cpu->eflags &= ~FLAG_RF;
    cpu->interrupt_shadow = false;
    run_one(cpu);
    /* MOV SS and POP SS hold back the trap, too; STI does not. */
    held = cpu->interrupt_shadow && cpu->insn && cpu->insn->op[0].kind == OPK_SEG;
    x86_debug_after(cpu, tf && !held);
}

/* Something other than running the next block is due.  False: *exit says why to return. */
bool interp_attend(X86Cpu *cpu, X86Exit *exit)
{
    uint32_t requests = atomic_load(&cpu->requests);

    cpu->stop = 0;
    if (G_UNLIKELY(cpu->debug_hits)) {
        x86_debug_after(cpu, false);
    }
    if (requests & X86_REQ_EXIT) {
        x86_cpu_request_clear(cpu, X86_REQ_EXIT);
        *exit = X86_EXIT_KICK;
        return false;
    }
    if (requests & X86_REQ_TLB_FLUSH) {
        x86_cpu_request_clear(cpu, X86_REQ_TLB_FLUSH);
        x86_tlb_flush(cpu, true);
        interp_flush(cpu);
    }
    if (x86_has_work(cpu)) {
        if (!x86_service_requests(cpu)) {
            *exit = X86_EXIT_TRIPLE_FAULT;
            return false;
        }
    }
    if (cpu->halted || cpu->wait_sipi) {
        *exit = X86_EXIT_HALT;
        return false;
    }
    return true;
}

void interp_run_next(X86Cpu *cpu)
{
    Block *block = find(cpu);

    if (G_UNLIKELY(cpu->insn_limit - cpu->insn_count < block->count)) {
        run_one(cpu);
    } else {
        run_block(cpu, block);
    }
}

bool interp_deliver(X86Cpu *cpu)
{
    cpu->insn = NULL;
    return x86_deliver_event(cpu);
}

uint64_t interp_insn_count(const X86Cpu *cpu)
{
    const Block *block = cpu->interp->current;

    if (block && cpu->insn >= block->insns && cpu->insn < block->insns + block->count) {
        return cpu->insn_count - (block->count - (cpu->insn - block->insns));
    }
    return cpu->insn_count;
}

/* An event unwound the current block: take back what it did not run. */
void interp_unwound(X86Cpu *cpu)
{
    cpu->insn_count = interp_insn_count(cpu);
    cpu->interp->current = NULL;
}

X86Exit interp_run(X86Cpu *cpu)
{
    sigjmp_buf here, *outer = cpu->unwind;
    X86Exit exit = X86_EXIT_KICK;
    const bool logging = log_enabled(LOG_EXEC | LOG_CPU);    /* a change counts after a kick */

    cpu->unwind = &here;
    if (sigsetjmp(here, 0)) {
        interp_unwound(cpu);
    }
    if (cpu->event.pending && !interp_deliver(cpu)) {
        cpu->unwind = outer;
        return X86_EXIT_TRIPLE_FAULT;
    }
    for (;;) {
        if (G_UNLIKELY(atomic_load_explicit(&cpu->requests, memory_order_relaxed) || cpu->stop ||
                       cpu->halted || cpu->wait_sipi) && !interp_attend(cpu, &exit)) {
            break;
        }
        if (G_UNLIKELY(cpu->insn_count >= cpu->insn_limit)) {
            exit = X86_EXIT_LIMIT;
            break;
        }
        if (G_UNLIKELY((cpu->mode & (MODE_TF | MODE_DEBUG)) || (cpu->eflags & FLAG_RF) ||
                       cpu->interrupt_shadow)) {
            interp_run_careful(cpu);
            continue;
        }
        if (G_UNLIKELY(logging)) {
            interp_log_run(cpu);
        }
        interp_run_next(cpu);
    }
    cpu->unwind = outer;
    return exit;
}

X86Exit interp_step(X86Cpu *cpu)
{
    sigjmp_buf here, *outer = cpu->unwind;
    X86Exit exit = X86_EXIT_STEP;

    cpu->unwind = &here;
    cpu->stop = 0;
    if (sigsetjmp(here, 0)) {
        interp_unwound(cpu);
    } else if (!cpu->event.pending) {
        interp_run_careful(cpu);
    }
    /* A fault during delivery comes back through sigsetjmp(). */
    if (cpu->event.pending && !interp_deliver(cpu)) {
        exit = X86_EXIT_TRIPLE_FAULT;
    } else if (cpu->halted) {
        exit = X86_EXIT_HALT;
    }
    cpu->unwind = outer;
    return exit;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static void free_list(gpointer list)
{
    g_ptr_array_free(list, TRUE);
}

void interp_init(X86Cpu *cpu)
{
    X86Interp *it = g_new0(X86Interp, 1);

    g_mutex_init(&it->lock);
    it->cpu = cpu;
    it->chunk_used = ARENA_CHUNK;
    it->pages = g_hash_table_new_full(NULL, NULL, NULL, free_list);
    cpu->interp = it;
    if (!cpu->code) {
        cpu->code = code_map_new();
        it->own_code_map = true;
    }
    code_map_attach_cpu(cpu->code, cpu);
    code_map_attach_engine(cpu->code, retire, it);
}

void interp_clear(X86Cpu *cpu)
{
    X86Interp *it = cpu->interp;

    code_map_detach_engine(cpu->code, it);
    code_map_detach_cpu(cpu->code, cpu);
    if (it->own_code_map) {
        code_map_free(cpu->code);
        cpu->code = NULL;
    }
    drop_blocks(it);
    g_hash_table_destroy(it->pages);
    g_mutex_clear(&it->lock);
    g_free(it);
    cpu->interp = NULL;
}

void interp_flush(X86Cpu *cpu)
{
    drop_blocks(cpu->interp);
}
