/* SPDX-License-Identifier: MIT */
/*
 * rhea-nbd -L: what another NBD server exports.  Single threaded.
 */
#include "tools/rhea-nbd/nbd.h"

#include <stdio.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "block/nbd_link.h"

typedef struct List {
    const NbdTarget *target;
    GPtrArray *found;
    GError *error;
} List;

static void co_list(void *opaque)
{
    List *l = opaque;

    l->found = co_nbd_list(l->target, &l->error);
}

static void print_flags(uint16_t flags)
{
    /* clang-format off */
    static const char *const names[] = {
        NULL, "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi", "resize",
        "cache", "fast-zero",
    };
    /* clang-format on */

    printf("  flags: 0x%x (", flags);
    for (unsigned i = 1; i < ARRAY_LEN(names); i++) {
        if (flags & BIT(i)) {
            printf(" %s", names[i]);
        }
    }
    printf(" )\n");
}

static void print_export(const NbdListed *l)
{
    printf(" export: '%s'\n", l->info.name);
    if (l->info.description && *l->info.description) {
        printf("  description: %s\n", l->info.description);
    }
    if (!(l->info.flags & NBD_FLAG_HAS_FLAGS)) {
        return;                        /* the server knows no INFO */
    }
    printf("  size:  %" PRIu64 "\n", l->info.size);
    print_flags(l->info.flags);
    if (l->info.min_block) {
        printf("  min block: %u\n  opt block: %u\n  max block: %u\n", l->info.min_block,
               l->info.preferred_block, l->info.max_block);
    }
    if (l->contexts->len) {
        printf("  available meta contexts: %u\n", l->contexts->len);
    }
    for (unsigned i = 0; i < l->contexts->len; i++) {
        printf("   %s\n", (char *)l->contexts->pdata[i]);
    }
}

int nbd_list(const NbdArgs *a)
{
    NbdTarget target = { .address = nbd_address(a, "localhost"),
                         .hostname = g_strdup(a->tls_hostname) };
    List l = { .target = &target };

    if (a->tls_creds) {
        TlsCreds *creds = tls_creds_find(a->tls_creds, TLS_CLIENT, &l.error);

        target.creds = creds ? tls_creds_ref(creds) : NULL;
    }
    if (!l.error) {
        coroutine_run_sync(event_loop_main(), co_list, &l);
    }
    if (l.found) {
        printf("exports available: %u\n", l.found->len);
        for (unsigned i = 0; i < l.found->len; i++) {
            print_export(l.found->pdata[i]);
        }
        g_ptr_array_unref(l.found);
    } else {
        error_report_free(l.error);
    }
    nbd_target_clear(&target);
    return l.found ? 0 : 1;
}
