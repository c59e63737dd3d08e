/* SPDX-License-Identifier: MIT */
/* See the header.  Everything the handler calls is async-signal-safe; it allocates nothing and takes no lock. */
#include "base/crash.h"

#include <link.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/bits.h"

#define MODULES 64

typedef struct Module {
    uintptr_t base, start, end;
    char name[40];
} Module;

typedef struct Line {
    char text[400];
    unsigned len;
} Line;

static const struct { int number; const char *name; } signals[] = {
    { SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" }, { SIGFPE, "SIGFPE" }, { SIGILL, "SIGILL" },
};

static const char *program;
static Module modules[MODULES];
static unsigned module_count;
static __thread const uint64_t *guest_rip;

/* ---- the line ---- */

static void add(Line *line, const char *text)
{
    while (*text && line->len < sizeof(line->text) - 1) {
        line->text[line->len++] = *text++;
    }
}

static void add_hex(Line *line, uint64_t value)
{
    char digits[19];
    unsigned at = sizeof(digits) - 1;

    digits[at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    digits[--at] = 'x';
    digits[--at] = '0';
    add(line, digits + at);
}

static void add_place(Line *line, uintptr_t pc)
{
    for (unsigned i = 0; i < module_count; i++) {
        if (pc >= modules[i].start && pc < modules[i].end) {
            add(line, modules[i].name);
            add(line, "+");
            add_hex(line, pc - modules[i].base);
            return;
        }
    }
    add_hex(line, pc);
}

static void on_crash(int sig, siginfo_t *info, void *opaque)
{
    const ucontext_t *uc = opaque;
    struct sigaction action = { .sa_handler = SIG_DFL };
    char thread[17] = "?";
    Line line = { .len = 0 };

    sigaction(sig, &action, NULL);
    prctl(PR_GET_NAME, thread);
    add(&line, program);
    add(&line, ": ");
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        add(&line, signals[i].number == sig ? signals[i].name : "");
    }
    add(&line, " in thread '");
    add(&line, thread);
    add(&line, "' at ");
    add_place(&line, uc->uc_mcontext.gregs[REG_RIP]);
    add(&line, ", address ");
    add_hex(&line, (uintptr_t)info->si_addr);
    if (guest_rip) {
        add(&line, ", guest RIP ");
        add_hex(&line, *guest_rip);
    }
    add(&line, "\n");
    if (write(STDERR_FILENO, line.text, line.len) < 0) {
        line.len = 0;           /* there is nobody else to tell */
    }
    raise(sig);                 /* once this handler has returned */
}

/* ---- set-up ---- */

static int note_module(struct dl_phdr_info *info, size_t size, void *opaque)
{
    const char *path = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : program;
    const char *slash = strrchr(path, '/');

    for (unsigned i = 0; i < info->dlpi_phnum && module_count < MODULES; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        Module *m = &modules[module_count];

        if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
            m->base = info->dlpi_addr;
            m->start = info->dlpi_addr + p->p_vaddr;
            m->end = m->start + p->p_memsz;
            strncpy(m->name, slash ? slash + 1 : path, sizeof(m->name) - 1);
            module_count++;
        }
    }
    return 0;
}

bool crash_init(const char *name)
{
    struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;
    bool all = true;

    program = name;
    module_count = 0;
    dl_iterate_phdr(note_module, NULL);
    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        sigaddset(&action.sa_mask, signals[i].number);
    }
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        if (sigaction(signals[i].number, NULL, &old) || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL) {
            all = false;
        } else {
            sigaction(signals[i].number, &action, NULL);
        }
    }
    return all;
}

void crash_set_guest_rip(const uint64_t *rip)
{
    guest_rip = rip;
}
