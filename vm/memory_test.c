/* SPDX-License-Identifier: MIT */
/* The memory map: priorities, aliases, splits, access sizes, ROM, listeners, dirty bits, eventfds, readers under RCU. */
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/rcu.h"
#include "vm/bench.h"

typedef struct Spy {
    GString *log;
    uint64_t answer;
} Spy;

static uint64_t spy_read(void *opaque, uint64_t offset, unsigned size)
{
    Spy *s = opaque;

    g_string_append_printf(s->log, "r%u@%x ", size, (unsigned)offset);
    return s->answer >> (8 * (offset & 7));
}

static void spy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Spy *s = opaque;

    g_string_append_printf(s->log, "w%u@%x=%x ", size, (unsigned)offset, (unsigned)value);
}

static const MmioOps spy_ops = { .read = spy_read, .write = spy_write };
static const MmioOps spy8_ops = { .read = spy_read, .write = spy_write, .impl_max = 1 };
static const MmioOps spy_wide_ops = { .read = spy_read, .write = spy_write, .impl_min = 4 };
static const MmioOps spy_word_only_ops = { .read = spy_read, .write = spy_write,
                                           .valid_min = 4, .valid_max = 4 };
static const MmioOps spy_big_ops = { .read = spy_read, .write = spy_write, .big_endian = true };

typedef struct World {
    MemoryRegion root, ram, io;
    AddressSpace as;
    Spy spy;
} World;

static void world_init(World *w, const MmioOps *ops)
{
    machine_lock();
    memset(w, 0, sizeof(*w));
    w->spy.log = g_string_new(NULL);
    w->spy.answer = 0x8877665544332211;
    memory_region_init(&w->root, NULL, "root", UINT64_MAX);
    g_assert_true(memory_region_init_ram(&w->ram, NULL, "ram", 1 * MIB, NULL));
    memory_region_init_io(&w->io, NULL, "io", ops, &w->spy, 0x1000);
    address_space_init(&w->as, &w->root, "test");
    memory_region_add(&w->root, 0, &w->ram);
    memory_region_add_overlap(&w->root, 0x8000, &w->io, 1);
}

static void world_clear(World *w)
{
    if (w->io.container) {
        memory_region_remove(w->io.container, &w->io);
    }
    if (w->ram.container) {
        memory_region_remove(w->ram.container, &w->ram);
    }
    address_space_destroy(&w->as);
    memory_region_clear(&w->ram);
    memory_region_clear(&w->root);
    g_string_free(w->spy.log, TRUE);
    machine_unlock();
}

static MemoryRegion *at(World *w, gpa_t gpa)
{
    RCU_READ_SCOPE();

    return memory_resolve(&w->as, gpa).mr;
}

static void test_higher_priority_is_seen(void)
{
    World w;

    world_init(&w, &spy_ops);
    g_assert_true(at(&w, 0x7fff) == &w.ram);
    g_assert_true(at(&w, 0x8000) == &w.io);
    g_assert_true(at(&w, 0x8fff) == &w.io);
    g_assert_true(at(&w, 0x9000) == &w.ram);
    g_assert_null(at(&w, 1 * MIB));
    memory_region_set_enabled(&w.io, false);
    g_assert_true(at(&w, 0x8000) == &w.ram);
    g_assert_cmpuint(w.as.map->count, ==, 1);
    world_clear(&w);
}

static void test_last_added_wins_among_equals(void)
{
    World w;
    MemoryRegion second;

    world_init(&w, &spy_ops);
    memory_region_init_io(&second, NULL, "second", &spy_ops, &w.spy, 0x10);
    memory_region_add_overlap(&w.root, 0x8000, &second, 1);
    g_assert_true(at(&w, 0x8000) == &second);
    g_assert_true(at(&w, 0x8010) == &w.io);
    memory_region_set_address(&w.io, 0x7ff0);
    g_assert_true(at(&w, 0x8000) == &w.io);
    memory_region_remove(&w.root, &second);
    world_clear(&w);
}

static void test_alias_of_alias_with_clipping(void)
{
    World w;
    MemoryRegion inner, outer, box;
    MemoryTarget t;

    world_init(&w, &spy_ops);
    memory_region_init_alias(&inner, NULL, "inner", &w.ram, 0x1000, 0x4000);
    memory_region_init_alias(&outer, NULL, "outer", &inner, 0x800, 0x2000);
    memory_region_init(&box, NULL, "box", 0x1000);
    memory_region_add(&box, 0x400, &outer);
    memory_region_add(&w.root, 16 * GIB, &box);
    t = memory_resolve(&w.as, 16 * GIB + 0x400);
    g_assert_true(t.mr == &w.ram);
    g_assert_cmphex(t.offset, ==, 0x1800);
    g_assert_cmphex(t.len, ==, 0xc00);   /* the box ends */
    g_assert_null(at(&w, 16 * GIB + 0x3ff));
    g_assert_null(at(&w, 16 * GIB + 0x1000));
    memory_region_set_alias_offset(&outer, 0x3f00);
    t = memory_resolve(&w.as, 16 * GIB + 0x400);
    g_assert_cmphex(t.offset, ==, 0x4f00);
    g_assert_cmphex(t.len, ==, 0x100);   /* the inner alias ends */
    memory_region_remove(&w.root, &box);
    memory_region_remove(&box, &outer);
    world_clear(&w);
}

static void test_negative_offset_of_a_child_is_clipped(void)
{
    World w;
    MemoryRegion box;
    MemoryTarget t;

    world_init(&w, &spy_ops);
    memory_region_remove(&w.root, &w.ram);
    memory_region_init(&box, NULL, "box", 0x1000);
    memory_region_add(&w.root, 0x100000, &box);
    memory_region_add(&box, 0, &w.ram);
    t = memory_resolve(&w.as, 0x100000);
    g_assert_cmphex(t.len, ==, 0x1000);
    memory_region_remove(&w.root, &box);
    memory_region_remove(&box, &w.ram);
    world_clear(&w);
}

static void test_whole_address_space_region(void)
{
    World w;
    MemoryRegion all;
    MemoryTarget t;

    world_init(&w, &spy_ops);
    memory_region_init_io(&all, NULL, "all", &spy_ops, &w.spy, UINT64_MAX);
    memory_region_add_overlap(&w.root, 0, &all, -1);
    t = memory_resolve(&w.as, UINT64_MAX);
    g_assert_true(t.mr == &all);
    g_assert_cmphex(t.offset, ==, UINT64_MAX);
    g_assert_cmphex(t.len, ==, 1);
    address_space_load(&w.as, UINT64_MAX - 3, 4);
    memory_region_remove(&w.root, &all);
    world_clear(&w);
}

static void test_access_is_split_to_what_is_implemented(void)
{
    World w;

    world_init(&w, &spy8_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 4), ==, 0x44332211);
    g_assert_cmpstr(w.spy.log->str, ==, "r1@0 r1@1 r1@2 r1@3 ");
    g_string_set_size(w.spy.log, 0);
    address_space_store(&w.as, 0x8002, 0xbeef, 2);
    g_assert_cmpstr(w.spy.log->str, ==, "w1@2=ef w1@3=be ");
    world_clear(&w);
}

static void test_eight_bytes_become_two_by_default(void)
{
    World w;

    world_init(&w, &spy_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 8), ==, 0x8877665544332211);
    g_assert_cmpstr(w.spy.log->str, ==, "r4@0 r4@4 ");
    world_clear(&w);
}

static void test_unaligned_access_is_split(void)
{
    World w;

    world_init(&w, &spy_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8001, 4), ==, 0x55443322);
    g_assert_cmpstr(w.spy.log->str, ==, "r1@1 r2@2 r1@4 ");
    world_clear(&w);
}

static void test_narrow_access_is_widened(void)
{
    World w;

    world_init(&w, &spy_wide_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8001, 1), ==, 0x22);
    g_assert_cmpstr(w.spy.log->str, ==, "r4@0 ");
    g_string_set_size(w.spy.log, 0);
    address_space_store(&w.as, 0x8001, 0xee, 1);
    g_assert_cmpstr(w.spy.log->str, ==, "r4@0 w4@0=4433ee11 ");
    world_clear(&w);
}

static void test_wide_access_is_decoded_by_its_address(void)
{
    World w;
    MemoryRegion inside;

    world_init(&w, &spy_ops);
    memory_region_init_io(&inside, NULL, "inside", &spy8_ops, &w.spy, 1);
    memory_region_add_overlap(&w.root, 0x8001, &inside, 2);
    address_space_store(&w.as, 0x8000, 0x80001234, 4);
    address_space_store(&w.as, 0x8001, 6, 1);
    g_assert_cmpstr(w.spy.log->str, ==, "w4@0=80001234 w1@0=6 ");
    memory_region_remove(&w.root, &inside);
    world_clear(&w);
}

static void test_invalid_size_is_refused(void)
{
    World w;

    world_init(&w, &spy_word_only_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 1), ==, 0xff);
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 8), ==, UINT64_MAX);
    g_assert_cmpstr(w.spy.log->str, ==, "");
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 4), ==, 0x44332211);
    world_clear(&w);
}

static void test_big_endian_region(void)
{
    World w;

    world_init(&w, &spy_big_ops);
    g_assert_cmphex(address_space_load(&w.as, 0x8000, 4), ==, 0x11223344);
    address_space_store(&w.as, 0x8000, 0x11223344, 4);
    g_assert_cmpstr(w.spy.log->str, ==, "r4@0 w4@0=44332211 ");
    world_clear(&w);
}

static void test_run_over_ram_and_mmio(void)
{
    World w;
    uint8_t out[12] = "abcdefghijkl", in[12];

    world_init(&w, &spy_ops);
    g_assert_true(address_space_write(&w.as, 0x7ffc, out, sizeof(out)));
    g_assert_cmpstr(w.spy.log->str, ==, "w4@0=68676665 w4@4=6c6b6a69 ");
    g_assert_true(address_space_read(&w.as, 0x7ffc, in, 4));
    g_assert_cmpmem(in, 4, "abcd", 4);
    world_clear(&w);
}

static void test_unassigned_reads_ones(void)
{
    World w;
    uint8_t in[8];

    world_init(&w, &spy_ops);
    g_assert_false(address_space_read(&w.as, 1 * MIB - 4, in, 8));
    g_assert_cmphex(le32_load(in), ==, 0);
    g_assert_cmphex(le32_load(in + 4), ==, 0xffffffff);
    g_assert_false(address_space_read(&w.as, UINT64_MAX - 3, in, 8));
    g_assert_cmphex(le64_load(in), ==, UINT64_MAX);
    g_assert_false(address_space_write(&w.as, UINT64_MAX - 3, in, 8));
    world_clear(&w);
}

static void test_rom_keeps_its_contents(void)
{
    World w;
    MemoryRegion rom;
    MemoryTarget t;

    world_init(&w, &spy_ops);
    g_assert_true(memory_region_init_rom(&rom, NULL, "rom", 0x1000, NULL));
    memory_region_add(&w.root, 0xf0000000, &rom);
    g_assert_true(address_space_write_rom(&w.as, 0xf0000000, "BIOS", 4));
    g_assert_false(address_space_write(&w.as, 0xf0000000, "evil", 4));
    g_assert_cmpmem(memory_region_ram_ptr(&rom), 4, "BIOS", 4);
    t = memory_resolve(&w.as, 0xf0000000);
    g_assert_true(t.readonly && t.host);
    memory_region_remove(&w.root, &rom);
    memory_region_clear(&rom);
    world_clear(&w);
}

static void test_readonly_alias_protects_ram(void)
{
    World w;
    MemoryRegion alias;
    uint32_t v = 0;

    world_init(&w, &spy_ops);
    memory_region_init_alias(&alias, NULL, "pam", &w.ram, 0xc0000, 0x4000);
    memory_region_add_overlap(&w.root, 0xc0000, &alias, 2);
    memory_region_set_readonly(&alias, true);
    g_assert_false(address_space_write(&w.as, 0xc0000, "x", 1));
    address_space_store(&w.as, 0xc0000, 0x12, 1);
    address_space_read(&w.as, 0xc0000, &v, 1);
    g_assert_cmphex(v, ==, 0);
    memory_region_set_readonly(&alias, false);
    g_assert_true(address_space_write(&w.as, 0xc0000, "x", 1));
    memory_region_remove(&w.root, &alias);
    world_clear(&w);
}

static void test_rom_device_switches(void)
{
    World w;
    MemoryRegion flash;

    world_init(&w, &spy_ops);
    g_assert_true(memory_region_init_rom_device(&flash, NULL, "flash", &spy_ops, &w.spy, 0x1000,
                                                NULL));
    memory_region_add(&w.root, 0xf0000000, &flash);
    memcpy(memory_region_ram_ptr(&flash), "data", 4);
    g_assert_cmphex(address_space_load(&w.as, 0xf0000000, 1), ==, 'd');
    address_space_store(&w.as, 0xf0000000, 0x90, 1);
    g_assert_cmpstr(w.spy.log->str, ==, "w1@0=90 ");
    memory_region_set_rom_mode(&flash, false);
    g_assert_cmphex(address_space_load(&w.as, 0xf0000000, 1), ==, 0x11);
    memory_region_remove(&w.root, &flash);
    memory_region_clear(&flash);
    world_clear(&w);
}

/* ---- listeners ---- */

typedef struct Ear {
    MemoryListener l;
    GString *log;
} Ear;

static void ear_add(MemoryListener *l, const FlatRange *r)
{
    g_string_append_printf(((Ear *)l->opaque)->log, "+%x-%x ", (unsigned)r->start,
                           (unsigned)r->last);
}

static void ear_del(MemoryListener *l, const FlatRange *r)
{
    g_string_append_printf(((Ear *)l->opaque)->log, "-%x-%x ", (unsigned)r->start,
                           (unsigned)r->last);
}

static void ear_log_start(MemoryListener *l, const FlatRange *r)
{
    g_string_append_printf(((Ear *)l->opaque)->log, "log%x ", (unsigned)r->start);
}

static void ear_log_stop(MemoryListener *l, const FlatRange *r)
{
    g_string_append_printf(((Ear *)l->opaque)->log, "unlog%x ", (unsigned)r->start);
}

static void ear_commit(MemoryListener *l)
{
    g_string_append(((Ear *)l->opaque)->log, "; ");
}

static void ear_init(Ear *ear)
{
    *ear = (Ear){ .l = { .range_add = ear_add, .range_del = ear_del, .commit = ear_commit,
                         .log_start = ear_log_start, .log_stop = ear_log_stop,
                         .opaque = ear }, .log = g_string_new(NULL) };
}

static void test_listener_hears_only_differences(void)
{
    World w;
    Ear ear;

    world_init(&w, &spy_ops);
    ear_init(&ear);
    memory_listener_add(&w.as, &ear.l);
    g_assert_cmpstr(ear.log->str, ==, "+0-7fff +8000-8fff +9000-fffff ; ");
    g_string_set_size(ear.log, 0);
    memory_region_set_address(&w.io, 0x200000);
    g_assert_cmpstr(ear.log->str, ==, "-0-7fff -8000-8fff -9000-fffff +0-fffff +200000-200fff ; ");
    g_string_set_size(ear.log, 0);
    memory_transaction_begin();
    memory_region_set_enabled(&w.io, false);
    memory_region_set_enabled(&w.io, true);
    memory_transaction_commit();
    g_assert_cmpstr(ear.log->str, ==, "");
    memory_region_set_logging(&w.ram, DIRTY_VGA, true);
    memory_region_set_logging(&w.ram, DIRTY_VGA, true);
    memory_region_set_logging(&w.ram, DIRTY_VGA, false);
    memory_region_set_logging(&w.ram, DIRTY_VGA, false);
    g_assert_cmpstr(ear.log->str, ==, "log0 ; unlog0 ; ");
    g_string_set_size(ear.log, 0);
    memory_listener_remove(&w.as, &ear.l);
    g_assert_cmpstr(ear.log->str, ==, "-0-fffff -200000-200fff ; ");
    g_string_free(ear.log, TRUE);
    world_clear(&w);
}

/* ---- dirty pages and code ---- */

static uint64_t code_hits, code_offset;

static void on_code_write(RamBlock *ram, uint64_t offset, uint64_t len)
{
    code_hits++;
    code_offset = offset;
}

static unsigned closes;
static bool cpus_have_closed;

static void close_pages(void)
{
    closes++;
    cpus_have_closed = false;
}

static bool pages_closed(void)
{
    return cpus_have_closed;
}

static bool harvest(World *w)
{
    return memory_test_and_clear_dirty(&w->ram, 0x5000, 1, DIRTY_VGA);
}

/* An open page counts as dirty until every vCPU has dropped its tag, and once more then. */
static void test_open_pages_stay_dirty_until_closed(void)
{
    static const MemoryOpenOps ops = { close_pages, pages_closed };
    World w;

    world_init(&w, NULL);
    memory_set_open_ops(&ops);
    memory_region_set_logging(&w.ram, DIRTY_VGA, true);
    memory_test_and_clear_dirty(&w.ram, 0, 1 * MIB, DIRTY_VGA);
    closes = 0;
    g_assert_true(memory_open_dirty_page(&w.ram, 0x5123));
    g_assert_false(memory_test_and_clear_dirty(&w.ram, 0x6000, 1, DIRTY_VGA));
    g_assert_true(harvest(&w));
    g_assert_cmpuint(closes, ==, 1);
    g_assert_true(harvest(&w));
    g_assert_true(harvest(&w));
    cpus_have_closed = true;
    g_assert_true(harvest(&w));
    g_assert_false(harvest(&w));
    g_assert_cmpuint(closes, ==, 1);
    /* Another vCPU opens it again while the first is asked to close it. */
    g_assert_true(memory_open_dirty_page(&w.ram, 0x5000));
    g_assert_true(harvest(&w));
    g_assert_true(memory_open_dirty_page(&w.ram, 0x5fff));
    g_assert_true(harvest(&w));
    g_assert_cmpuint(closes, ==, 3);
    cpus_have_closed = true;
    g_assert_true(harvest(&w));
    g_assert_false(harvest(&w));
    memory_region_set_logging(&w.ram, DIRTY_MIGRATION, true);
    g_assert_false(memory_open_dirty_page(&w.ram, 0x5000));
    memory_set_open_ops(NULL);
    world_clear(&w);
}

static void test_writes_mark_pages_dirty(void)
{
    World w;
    unsigned long bits[4];

    world_init(&w, &spy_ops);
    memory_test_and_clear_dirty(&w.ram, 0, 1 * MIB, DIRTY_VGA);
    g_assert_false(memory_test_and_clear_dirty(&w.ram, 0, 1 * MIB, DIRTY_VGA));
    address_space_write(&w.as, 0x2fff, "ab", 2);
    memory_snapshot_dirty(&w.ram, 0x1000, 0x4000, DIRTY_VGA, bits);
    g_assert_cmphex(bits[0] & 0xf, ==, 0x6);
    g_assert_false(memory_test_and_clear_dirty(&w.ram, 0, 1 * MIB, DIRTY_VGA));
    /* Another client has its own bits. */
    g_assert_true(memory_test_and_clear_dirty(&w.ram, 0x2000, 1, DIRTY_MIGRATION));
    world_clear(&w);
}

static void test_code_hook_hears_of_dma_and_not_of_cpus(void)
{
    World w;

    world_init(&w, &spy_ops);
    memory_code_write_hook = on_code_write;
    code_hits = 0;
    address_space_write(&w.as, 0x3010, "a", 1);
    g_assert_cmpuint(code_hits, ==, 1);
    g_assert_cmphex(code_offset, ==, 0x3010);
    address_space_write(&w.as, 0x3010, "a", 1);
    g_assert_cmpuint(code_hits, ==, 2);
    memory_test_and_clear_dirty(&w.ram, 0, 1 * MIB, DIRTY_VGA);
    memory_mark_dirty(&w.ram, 0x3010, 1);
    g_assert_cmpuint(code_hits, ==, 2);
    g_assert_true(memory_test_and_clear_dirty(&w.ram, 0x3000, 1, DIRTY_VGA));
    memory_code_write_hook = NULL;
    world_clear(&w);
}

static void test_eventfd_takes_the_matching_write(void)
{
    World w;
    uint64_t count = 0;
    int fd = eventfd(0, EFD_NONBLOCK);

    world_init(&w, &spy_ops);
    memory_region_add_eventfd(&w.io, 0x10, 2, true, 5, fd);
    address_space_store(&w.as, 0x8010, 4, 2);
    address_space_store(&w.as, 0x8010, 5, 2);
    g_assert_cmpstr(w.spy.log->str, ==, "w2@10=4 ");
    g_assert_cmpint(read(fd, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 1);
    memory_region_del_eventfd(&w.io, 0x10, 2, true, 5, fd);
    close(fd);
    world_clear(&w);
    memory_region_clear(&w.io);
}

/* ---- RAM blocks ---- */

static void test_host_address_finds_its_block(void)
{
    World w;
    uint64_t offset = 0;

    world_init(&w, &spy_ops);
    g_assert_true(ram_block_from_host((char *)memory_region_ram_ptr(&w.ram) + 0x123, &offset) ==
                  w.ram.ram);
    g_assert_cmphex(offset, ==, 0x123);
    g_assert_null(ram_block_from_host(&w, &offset));
    world_clear(&w);
}

static void test_impossible_size_is_an_error(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(ram_block_new("huge", UINT64_MAX - 5, true, &error));
    g_assert_true(g_strstr_len(error->message, -1, "'huge'") != NULL);
    g_clear_error(&error);
    g_assert_null(ram_block_new("zero", 0, true, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_null(ram_block_new("anon", 1ull << 60, false, &error));
    g_assert_nonnull(error);
}

/* ---- readers while the map changes ---- */

typedef struct Reader {
    World *w;
    int stop;
} Reader;

static void *read_all_the_time(void *opaque)
{
    Reader *r = opaque;

    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
        RCU_READ_SCOPE();
        MemoryTarget t = memory_resolve(&r->w->as, 0x8000);

        g_assert_true(t.mr == &r->w->ram || t.mr == &r->w->io);
    }
    return NULL;
}

static void test_readers_see_old_or_new_map(void)
{
    World w;
    Reader r = { &w, 0 };
    GThread *thread;

    world_init(&w, &spy_ops);
    thread = g_thread_new("reader", read_all_the_time, &r);
    for (unsigned i = 0; i < 2000; i++) {
        memory_region_set_enabled(&w.io, i & 1);
    }
    __atomic_store_n(&r.stop, 1, __ATOMIC_RELAXED);
    g_thread_join(thread);
    world_clear(&w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/priority", test_higher_priority_is_seen);
    g_test_add_func("/memory/last-added-wins", test_last_added_wins_among_equals);
    g_test_add_func("/memory/alias-of-alias", test_alias_of_alias_with_clipping);
    g_test_add_func("/memory/clipped-child", test_negative_offset_of_a_child_is_clipped);
    g_test_add_func("/memory/whole-space", test_whole_address_space_region);
    g_test_add_func("/memory/split", test_access_is_split_to_what_is_implemented);
    g_test_add_func("/memory/eight-bytes", test_eight_bytes_become_two_by_default);
    g_test_add_func("/memory/unaligned", test_unaligned_access_is_split);
    g_test_add_func("/memory/widen", test_narrow_access_is_widened);
    g_test_add_func("/memory/decoded-by-address", test_wide_access_is_decoded_by_its_address);
    g_test_add_func("/memory/invalid-size", test_invalid_size_is_refused);
    g_test_add_func("/memory/big-endian", test_big_endian_region);
    g_test_add_func("/memory/run", test_run_over_ram_and_mmio);
    g_test_add_func("/memory/unassigned", test_unassigned_reads_ones);
    g_test_add_func("/memory/rom", test_rom_keeps_its_contents);
    g_test_add_func("/memory/readonly-alias", test_readonly_alias_protects_ram);
    g_test_add_func("/memory/rom-device", test_rom_device_switches);
    g_test_add_func("/memory/listener", test_listener_hears_only_differences);
    g_test_add_func("/memory/dirty", test_writes_mark_pages_dirty);
    g_test_add_func("/memory/open-pages", test_open_pages_stay_dirty_until_closed);
    g_test_add_func("/memory/code-hook", test_code_hook_hears_of_dma_and_not_of_cpus);
    g_test_add_func("/memory/eventfd", test_eventfd_takes_the_matching_write);
    g_test_add_func("/memory/from-host", test_host_address_finds_its_block);
    g_test_add_func("/memory/impossible-size", test_impossible_size_is_an_error);
    g_test_add_func("/memory/rcu-readers", test_readers_see_old_or_new_map);
    return g_test_run();
}
