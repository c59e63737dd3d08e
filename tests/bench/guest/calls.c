/* SPDX-License-Identifier: MIT */
/*
 * Kernels of control flow: calls and returns, an interpreter, a mix of the small procedures that
 * business programs are made of.
 */
#include "bench.h"

#include <string.h>

/* -------- fib(23), each number by two calls -------- */

enum { FIB_N = 23, FIB_CALLS = 92735 };          /* 2 fib(24) - 1 calls */

__attribute__((noinline)) static uint64_t fib(uint64_t n)
{
    uint64_t result = n;

    if (n >= 2) {
        result = fib(n - 1) + fib(n - 2);
        __asm__ volatile("" : "+r"(result));     /* else one call becomes a loop */
    }
    return result;
}

static uint64_t fib_run(void)
{
    return mix(0, fib(FIB_N));
}

/* -------- a machine of registers, interpreted with a switch -------- */

typedef enum Op { OP_LOAD, OP_ADD, OP_SUB, OP_MUL, OP_XOR, OP_SHR, OP_GET, OP_PUT, OP_LESS, OP_JUMP_IF,
                  OP_JUMP, OP_HALT } Op;

typedef struct Code {
    uint8_t op, a, b, c;
    int32_t value;
} Code;

/* The sieve of Eratosthenes to 4000, and a checksum of it in r7. */
enum { SIEVE_LIMIT = 4000 };

/* clang-format off */
static const Code sieve[] = {
    /*  0 */ { OP_LOAD, 0, .value = 2 },                  /* r0 = candidate */
    /*  1 */ { OP_LOAD, 1, .value = SIEVE_LIMIT },
    /*  2 */ { OP_LOAD, 2, .value = 1 },
    /*  3 */ { OP_LOAD, 7, .value = 0 },
    /*  4 */ { OP_LESS, 3, 0, 1 },                        /* while r0 < r1 */
    /*  5 */ { OP_JUMP_IF, 3, .value = 7 },
    /*  6 */ { OP_HALT },
    /*  7 */ { OP_GET, 3, 0 },                            /* struck out already? */
    /*  8 */ { OP_JUMP_IF, 3, .value = 20 },
    /*  9 */ { OP_LOAD, 4, .value = 31 },
    /* 10 */ { OP_MUL, 7, 7, 4 },
    /* 11 */ { OP_ADD, 7, 7, 0 },
    /* 12 */ { OP_SHR, 4, 7, .value = 17 },
    /* 13 */ { OP_XOR, 7, 7, 4 },
    /* 14 */ { OP_ADD, 4, 0, 0 },                         /* r4 = multiples */
    /* 15 */ { OP_LESS, 3, 1, 4 },
    /* 16 */ { OP_JUMP_IF, 3, .value = 20 },
    /* 17 */ { OP_PUT, 4, 2 },
    /* 18 */ { OP_ADD, 4, 4, 0 },
    /* 19 */ { OP_JUMP, .value = 15 },
    /* 20 */ { OP_ADD, 0, 0, 2 },
    /* 21 */ { OP_JUMP, .value = 4 },
};
/* clang-format on */

static uint64_t *vm_memory;
static uint64_t vm_ops;

static bool vm_start(void)
{
    vm_memory = bench_memory((SIEVE_LIMIT + 1) * sizeof(*vm_memory));
    return true;
}

__attribute__((noinline)) static uint64_t interpret(const Code *code, uint64_t *memory, uint64_t *ops)
{
    uint64_t r[8] = { 0 }, count = 0;

    for (const Code *pc = code;; pc++) {
        count++;
        switch ((Op)pc->op) {
        case OP_LOAD:    r[pc->a] = (uint64_t)pc->value;           break;
        case OP_ADD:     r[pc->a] = r[pc->b] + r[pc->c];           break;
        case OP_SUB:     r[pc->a] = r[pc->b] - r[pc->c];           break;
        case OP_MUL:     r[pc->a] = r[pc->b] * r[pc->c];           break;
        case OP_XOR:     r[pc->a] = r[pc->b] ^ r[pc->c];           break;
        case OP_SHR:     r[pc->a] = r[pc->b] >> pc->value;         break;
        case OP_GET:     r[pc->a] = memory[r[pc->b]];              break;
        case OP_PUT:     memory[r[pc->a]] = r[pc->b];              break;
        case OP_LESS:    r[pc->a] = r[pc->b] < r[pc->c];           break;
        case OP_JUMP_IF: pc = r[pc->a] ? code + pc->value - 1 : pc; break;
        case OP_JUMP:    pc = code + pc->value - 1;                break;
        case OP_HALT:
            *ops = count;
            return r[7];
        }
    }
}

enum { VM_OPS = 72035 };

static uint64_t vm_run(void)
{
    memset(vm_memory, 0, (SIEVE_LIMIT + 1) * sizeof(*vm_memory));

    uint64_t result = interpret(sieve, vm_memory, &vm_ops);

    if (vm_ops != VM_OPS) {
        bench_fail("switch-vm: %llu operations, not %d", (unsigned long long)vm_ops, VM_OPS);
    }
    return mix(vm_ops, result);
}

/* -------- records, strings and small procedures: the mix that Weicker counted in 1984 -------- */

typedef enum Kind { KIND_ORDER, KIND_ITEM, KIND_CLOSED } Kind;

typedef struct Record {
    struct Record *next;
    Kind kind;
    int quantity, price;
    char title[32];
} Record;

static Record record_a, record_b;
static int stock[50], ledger[50][50];
static const char title_1[] = "RECORD SOME STRING, 1ST VERSION";
static const char title_2[] = "RECORD SOME STRING, 2ND VERSION";

__attribute__((noinline)) static int pick_price(int quantity, int base)
{
    return quantity > 4 ? base + quantity : base - quantity;
}

__attribute__((noinline)) static Kind next_kind(Kind kind, int quantity)
{
    switch (kind) {
    case KIND_ORDER:  return quantity > 100 ? KIND_CLOSED : KIND_ITEM;
    case KIND_ITEM:   return KIND_ORDER;
    case KIND_CLOSED: return KIND_ITEM;
    }
    return KIND_ORDER;
}

__attribute__((noinline)) static void book(int stocks[50], int books[50][50], int place, int amount)
{
    int row = place + 5;

    stocks[row] = amount;
    stocks[row + 1] = stocks[row];
    stocks[row + 30] = row;
    for (int column = row; column <= row + 1; column++) {
        books[row][column] = row;
    }
    books[row][row - 1] += 1;
    books[row + 20][row] = stocks[row];
}

__attribute__((noinline)) static bool later(const char *a, const char *b)
{
    int place = 2;

    while (place <= 2 && a[place] == b[place + 1]) {
        place++;
    }
    return strcmp(a, b) > 0 && place < 9;
}

__attribute__((noinline)) static void settle(Record *record)
{
    Record *other = record->next;

    *other = *record;
    record->quantity = 5;
    other->quantity = record->quantity;
    other->next = record->next;
    other->kind = next_kind(record->kind, other->quantity);
    if (other->kind == KIND_ITEM) {
        other->price = pick_price(other->quantity, 10);
    } else {
        *record = *other;
    }
}

enum { RECORDS = 30000 };

static bool records_start(void)
{
    memset(stock, 0, sizeof(stock));
    memset(ledger, 0, sizeof(ledger));
    return true;
}

static uint64_t records_run(void)
{
    uint64_t sum = 0;
    char title[32];

    memset(&record_b, 0, sizeof(record_b));
    record_a = (Record){ &record_b, KIND_ORDER, 40, 1, "" };
    strcpy(record_a.title, title_1);
    ledger[7][6] = 10;
    for (int i = 1; i <= RECORDS; i++) {
        int amount = 2, price = 3;

        strcpy(title, title_2);
        memory_barrier();
        if (!later(title_1, title)) {
            for (int bound = price; amount < bound; amount++) {
                price = pick_price(amount, 5 * amount - price);
            }
        }
        book(stock, ledger, i & 7, price);
        record_a.kind = KIND_ORDER;
        settle(&record_a);
        for (char c = 'A'; c <= 'B' + (i & 1); c++) {
            if (next_kind((Kind)(c - 'A'), price) == KIND_ITEM) {
                amount = i * 7 / 3;
                price = 7 * (price - amount) - i;
            }
        }
        sum += (uint64_t)(uint32_t)price + (uint64_t)record_b.price + (uint64_t)amount;
        memory_barrier();
    }
    return mix(sum, (uint64_t)(stock[7] + record_b.quantity));
}

/* clang-format off */
const Kernel call_kernels[] = {
    { "fib",       "call", "call",      FIB_CALLS, .run = fib_run },
    { "switch-vm", "call", "operation", VM_OPS,    vm_start,      vm_run },
    { "records",   "call", "iteration", RECORDS,   records_start, records_run },
    { 0 }
};
